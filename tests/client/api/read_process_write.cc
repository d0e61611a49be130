// Reads as a member of a group, writes twice each number that it reads, and has both count
// together: tests/clients/test_exactly_once.py runs several of it while everything dies.
//
//   read_process_write BOOTSTRAP FROM TO GROUP ID    until its input ends; says what goes wrong

#include <atomic>
#include <chrono>
#include <iostream>
#include <string>
#include <thread>

#include "millrace/client.h"

namespace {

using namespace std::chrono_literals;

// One transaction: what came is read, written and committed, or nothing of it.
millrace::Status Work(millrace::GroupConsumer& reader, millrace::Producer& writer) {
  auto records = reader.Poll(500ms);
  if (!records.ok()) return records.status();
  if (records->empty()) return {};
  millrace::Status status = writer.BeginTransaction();
  if (!status.ok()) return status;
  for (const millrace::ConsumedRecord& record : *records) {
    if (!status.ok()) break;
    const std::string twice = std::to_string(2 * std::stoll(std::string(*record.value)));
    status = writer.Send({.key = record.key, .value = twice});
  }
  if (status.ok()) status = writer.SendOffsets(reader);
  if (status.ok()) return writer.CommitTransaction(60s);
  millrace::Status aborted = writer.AbortTransaction(60s);
  return aborted.ok() ? status : aborted;
}

// Until it is fenced, or its input ends.
int Run(millrace::GroupConsumer& reader, millrace::Producer& writer,
        const std::atomic<bool>& has_ended) {
  while (!has_ended) {
    const millrace::Status done = Work(reader, writer);
    if (done.ok()) continue;
    std::cerr << done << std::endl;
    if (done.reason() == millrace::Reason::kTransactionFenced) return 3;
    // What was read counts for nothing: it comes again.
    for (millrace::Status back = reader.Rewind(30s); !back.ok(); back = reader.Rewind(30s)) {
      std::cerr << back << std::endl;
      if (has_ended) return 2;
    }
  }
  return reader.Close().ok() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 64;
  auto client = millrace::Client::Connect({.bootstrap = argv[1]});
  if (!client.ok()) return std::cerr << client.status() << std::endl, 1;
  auto writer = (*client)->OpenProducer(argv[3], {.transactional_id = argv[5]});
  if (!writer.ok()) return std::cerr << writer.status() << std::endl, 1;
  auto reader = (*client)->OpenGroupConsumer(argv[4], {.topics = {argv[2]}, .session_timeout = 6s});
  if (!reader.ok()) return std::cerr << reader.status() << std::endl, 1;
  std::atomic<bool> has_ended = false;
  std::thread input([&has_ended] {
    while (std::cin.get() != std::char_traits<char>::eof()) continue;
    has_ended = true;
  });
  const int code = Run(**reader, **writer, has_ended);
  input.detach();  // it may wait for input for ever
  return code;
}

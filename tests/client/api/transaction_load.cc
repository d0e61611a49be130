// Transactions of the public library, one after the other without waiting, until its input ends:
// tests/clients/test_library_transactions.py runs it while brokers die. Each sends one value to
// every partition, and every third is aborted.
//
//   transaction_load BOOTSTRAP TOPIC ID    prints "ID:3 committed", "aborted" or "unknown" for each

#include <atomic>
#include <chrono>
#include <cstdint>
#include <iostream>
#include <string>
#include <thread>
#include <utility>

#include <unistd.h>

#include "millrace/client.h"

namespace {

using namespace std::chrono_literals;

class Load {
 public:
  Load(millrace::Producer& producer, std::string id) : producer_(producer), id_(std::move(id)) {}

  // The next one; ok if there may be others.
  millrace::Status Run() {
    const std::string value = id_ + ":" + std::to_string(++count_);
    millrace::Status begun = producer_.BeginTransaction();
    if (begun.code() == millrace::Code::kResourceExhausted) {  // so many have not ended
      --count_;
      std::this_thread::sleep_for(10ms);
      return {};
    }
    if (!begun.ok()) return begun;
    for (uint32_t partition = 0; partition < producer_.partition_count(); ++partition) {
      millrace::Status sent = producer_.Send({.value = value, .partition = partition});
      if (!sent.ok()) return sent;
    }
    ++open_;
    const bool is_commit = count_ % 3 != 0;
    const auto tell = [this, value, is_commit](const millrace::Status& outcome) {
      Tell(value, is_commit, outcome);
    };
    millrace::Status ended =
        is_commit ? producer_.CommitTransaction(tell) : producer_.AbortTransaction(tell);
    if (!ended.ok()) --open_;  // then it calls nothing
    return ended;
  }
  void AwaitAll() const {
    while (open_ > 0) std::this_thread::sleep_for(1ms);
  }
  uint64_t open() const { return open_; }

 private:
  void Tell(const std::string& value, bool is_commit, const millrace::Status& outcome) {
    std::string words = "unknown " + outcome.ToString();
    if (outcome.ok()) words = is_commit ? "committed" : "aborted";
    // One that was to be aborted is so in any case.
    const bool has_ended = outcome.reason() == millrace::Reason::kTransactionEnded;
    if (has_ended || !is_commit) words = "aborted";
    std::cout << value << " " << words << std::endl;
    --open_;
  }

  millrace::Producer& producer_;
  const std::string id_;
  uint64_t count_ = 0;
  std::atomic<uint64_t> open_{0};
};

int Run(const std::string& bootstrap, const std::string& topic, const std::string& id) {
  auto client = millrace::Client::Connect({.bootstrap = bootstrap});
  if (!client.ok()) {
    std::cerr << client.status() << std::endl;
    return 1;
  }
  millrace::ProducerOptions options;
  options.transactional_id = id;
  options.transaction_timeout = 10s;
  auto producer = (*client)->OpenProducer(topic, options);
  if (!producer.ok()) {
    std::cerr << producer.status() << std::endl;
    return 1;
  }
  std::atomic<bool> is_over = false;
  std::thread input([&] {
    char byte = 0;
    while (read(STDIN_FILENO, &byte, 1) > 0) continue;
    is_over = true;
  });
  Load load(**producer, id);
  millrace::Status status;
  while (status.ok() && !is_over) {
    status = load.Run();
    while (load.open() > 20 && !is_over) std::this_thread::sleep_for(1ms);
  }
  load.AwaitAll();
  input.join();
  const bool is_fenced = status.reason() == millrace::Reason::kTransactionFenced ||
                         status.reason() == millrace::Reason::kProducerFenced;
  if (!status.ok()) std::cerr << (is_fenced ? "fenced: " : "") << status << std::endl;
  return status.ok() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  return Run(argv[1], argv[2], argv[3]);
}

// Stores three records in a topic of its own and reads them back: tiny BOOTSTRAP TOPIC.
#include <chrono>
#include <iostream>

#include <millrace/client.h>
#include <millrace/version.h>

using namespace std::chrono_literals;

namespace {

int Fail(const millrace::Status& status) {
  std::cerr << status << "\n";
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  auto client = millrace::Client::Connect({.bootstrap = argv[1], .client_id = "tiny"});
  if (!client.ok()) return Fail(client.status());
  auto topic = (*client)->admin().CreateTopic({.name = argv[2], .partition_count = 1});
  if (!topic.ok()) return Fail(topic.status());

  auto producer = (*client)->OpenProducer(argv[2], {.compression = millrace::Compression::kZstd});
  if (!producer.ok()) return Fail(producer.status());
  int64_t last_offset = -1;
  for (const char* value : {"one", "two", "three"}) {
    millrace::Status sent =
        (*producer)->Send({.value = value}, [&](const millrace::Delivery& delivery) {
          if (delivery.status.ok()) last_offset = delivery.offset;
        });
    if (!sent.ok()) return Fail(sent);
  }
  millrace::Status flushed = (*producer)->Flush(10s);
  if (!flushed.ok()) return Fail(flushed);
  std::cout << "version " << MILLRACE_VERSION << " last " << last_offset << "\n";

  auto consumer = (*client)->OpenConsumer(argv[2], {.stop_at_end = true});
  if (!consumer.ok()) return Fail(consumer.status());
  while (!(*consumer)->at_end()) {
    auto records = (*consumer)->Poll(1s);
    if (!records.ok()) return Fail(records.status());
    for (const millrace::ConsumedRecord& record : *records) {
      std::cout << record.offset << " " << *record.value << "\n";
    }
  }
  return 0;
}

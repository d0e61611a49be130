// One producer of a load: sends values to all partitions at a steady rate and records what it was
// told. When a send's fate stays unknown or it is refused, the producer ends as that process and
// begins again as another, as Jepsen's processes do.
//
// Owned by Load; everything on the client's executor.
//
//   LoadProducer producer(client, recorder, {.topic = "t", .records_per_second = 500});
//   producer.Start();
//   producer.StopAndFlush([] { ... });
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "client/core/client.h"
#include "client/core/producer_driver.h"
#include "tests/checker/load/recorder.h"

namespace millrace::checker {

class LoadProducer {
 public:
  struct Options {
    std::string topic;
    uint64_t records_per_second = 0;
    size_t padding_bytes_max = 400;
  };

  LoadProducer(client::Client& client, Recorder& recorder, Options options);
  ~LoadProducer();
  LoadProducer(const LoadProducer&) = delete;
  LoadProducer& operator=(const LoadProducer&) = delete;

  void Start();
  // Sends no more; `done` once everything is answered.
  void StopAndFlush(MoveFunction<void()> done);
  // How often it had to begin again, and why the last time.
  uint64_t restarts() const { return restarts_; }
  const Status& last_error() const { return last_error_; }

 private:
  void Open();
  void Tick();
  void SendSome(uint64_t count);
  void OnReport(const client::DeliveryReport& report);
  void BeginAgain();

  client::Client& client_;
  Recorder& recorder_;
  const Options options_;
  Random random_;
  std::unique_ptr<client::ProducerDriver> producer_;
  uint64_t process_ = 0;
  std::vector<std::deque<Value>> unanswered_;  // by partition, oldest first
  MonotonicTime began_{};
  uint64_t sent_ = 0;
  uint64_t restarts_ = 0;
  Status last_error_;
  bool is_open_ = false;
  bool is_broken_ = false;
  TimerId timer_;
  MoveFunction<void()> flushed_;
  // Guards tasks that outlive the producer; shared with those alone.
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace::checker

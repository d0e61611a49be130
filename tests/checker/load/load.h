// A load on a real cluster that writes a history: producers and readers of one topic until it is
// told to stop; then everything is flushed, and the readers, with a new one that begins at the
// first record, read on to the last acknowledged offset of every partition.
//
// Owned by main; everything on the executor.
//
//   Load load({executor, clock, connector}, options, recorder, on_end);
//   load.Start();
//   load.Stop();    // on_end follows, with DEADLINE_EXCEEDED if that does not come to its end
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/core/client.h"
#include "tests/checker/load/load_deleter.h"
#include "tests/checker/load/load_producer.h"
#include "tests/checker/load/load_reader.h"
#include "tests/checker/load/recorder.h"

namespace millrace::checker {

struct LoadOptions {
  std::vector<std::string> bootstrap;
  std::string topic;
  uint32_t producers = 3;
  uint32_t readers = 2;
  uint64_t records_per_second = 1500;  // of all producers
  // Between two deletions of a partition's oldest records; 0: none is deleted.
  Duration delete_interval{};
  Duration drain_timeout = std::chrono::seconds(60);
};

class Load {
 public:
  struct Environment {
    Executor& executor;
    const Clock& clock;
    client::Connector& connector;
    Random random;
  };
  using EndHandler = std::function<void(const Status&)>;

  Load(Environment environment, LoadOptions options, Recorder& recorder, EndHandler on_end);
  ~Load();

  void Start();
  // Once.
  void Stop();
  // How often producers and readers had to begin again, and the last reason of any.
  uint64_t producer_restarts() const;
  uint64_t reader_restarts() const;
  Status last_error() const;

 private:
  client::Client& NewClient();
  void AddReader();
  void OnFlushed();
  void ReadBack();
  void AwaitReaders();
  void End(const Status& status);

  Environment environment_;
  const LoadOptions options_;
  Recorder& recorder_;
  const EndHandler on_end_;
  std::vector<std::unique_ptr<client::Client>> clients_;
  std::vector<std::unique_ptr<LoadProducer>> producers_;
  std::vector<std::unique_ptr<LoadReader>> readers_;
  std::unique_ptr<LoadDeleter> deleter_;  // if any
  size_t flushing_ = 0;
  bool has_ended_ = false;
  TimerId deadline_;
  TimerId poll_;
};

}  // namespace millrace::checker

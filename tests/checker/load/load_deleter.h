// Deletes the oldest records of a load's topic, a few of one partition at a time, and asks where
// logs start, so that the history tells what may be gone.
//
// Owned by Load; everything on the client's executor.
//
//   LoadDeleter deleter(client, recorder, {.topic = "t", .interval = 500ms});
//   deleter.Start();
//   deleter.Stop([] { ... });
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/core/client.h"
#include "tests/checker/load/recorder.h"

namespace millrace::checker {

class LoadDeleter {
 public:
  struct Options {
    std::string topic;
    Duration interval{};  // between two deletions
  };

  LoadDeleter(client::Client& client, Recorder& recorder, Options options);
  ~LoadDeleter();
  LoadDeleter(const LoadDeleter&) = delete;
  LoadDeleter& operator=(const LoadDeleter&) = delete;

  void Start() { Next(); }
  // Deletes no more; `done` once the last call is answered.
  void Stop(MoveFunction<void()> done);

 private:
  void Next();
  void AskOffsets();
  void TakeOffsets(const Result<v1::ListOffsetsResponse>& response);
  void Delete(const v1::PartitionOffsets& offsets);
  void TakeDeleted(const Deletion& deletion, const Result<v1::DeleteRecordsResponse>& response);

  client::Client& client_;
  Recorder& recorder_;
  const Options options_;
  Random random_;
  const uint64_t process_;
  TimerId timer_;
  bool is_asking_ = false;
  MoveFunction<void()> stopped_;
  // Guards tasks that outlive the deleter; shared with those alone.
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace::checker

// One reader of a load: reads all partitions from their first record on, checks every payload and
// records what it saw. Where it is told that what comes next is gone it goes on where the log
// starts. When a partition can't be read any more it begins again, from the first record, as
// another process.
//
// Owned by Load; everything on the client's executor.
//
//   LoadReader reader(client, recorder, "t");
//   reader.Start();
//   if (reader.HasReached(recorder.ends())) ...
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/core/client.h"
#include "client/core/consumer_driver.h"
#include "tests/checker/load/recorder.h"

namespace millrace::checker {

class LoadReader {
 public:
  LoadReader(client::Client& client, Recorder& recorder, std::string topic);
  ~LoadReader();
  LoadReader(const LoadReader&) = delete;
  LoadReader& operator=(const LoadReader&) = delete;

  void Start() { Open(); }
  // Whether it read everything below `ends`, by partition.
  bool HasReached(const std::vector<Offset>& ends) const;
  // "partition 3 at 17 of 20" for those that it did not.
  std::string Missing(const std::vector<Offset>& ends) const;
  uint64_t restarts() const { return restarts_; }
  const Status& last_error() const { return last_error_; }

 private:
  void Open();
  void TakeAll();
  Status Take(const client::FetchedChunk& chunk, std::vector<Read>* reads);
  bool IsGone(Key key, const Status& error) const;
  void GoOn(Key key, Offset start);
  void BeginAgain(const Status& error);

  client::Client& client_;
  Recorder& recorder_;
  const std::string topic_;
  std::unique_ptr<client::ConsumerDriver> consumer_;
  uint64_t process_ = 0;
  std::vector<Offset> next_;  // by partition
  uint64_t restarts_ = 0;
  Status last_error_;
  bool is_broken_ = false;
  // Guards tasks that outlive the reader; shared with those alone.
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace::checker

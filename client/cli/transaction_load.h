// One phase of `bench transaction`: a number of records through some producers, without
// transactions or in transactions of so many, of which the next begins while the one before ends,
// or once it has ended.
//
// On main's thread, beside the client's own. The producers outlive it, unless a phase fails: then
// it destroys them, as what they report would come too late.
//
//   TransactionLoad load({.kind = LoadKind::kOverlapped, .records = 100'000}, &producers);
//   ASSIGN_OR_RETURN(const Duration elapsed, load.Run(&phase));
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/bench_phases.h"
#include "client/cli/progress.h"
#include "millrace/producer.h"
#include "proto/base/status.h"
#include "raft/runtime/event_loop.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {

// How long a producer of a load may wait for room before an interrupt or a failure is looked for.
inline constexpr std::chrono::milliseconds kLoadLookInterval{100};

enum class LoadKind { kPlain, kOverlapped, kAwaited };

struct LoadOptions {
  LoadKind kind = LoadKind::kPlain;
  std::string label;     // of the progress bar
  uint64_t records = 0;  // of all producers together
  uint64_t record_bytes = 0;
  uint64_t records_per_transaction = 0;
};

class TransactionLoad {
 public:
  using Producers = std::vector<std::unique_ptr<Producer>>;

  // The producers have transactional ids unless the kind is kPlain, and send_timeout is
  // kLoadLookInterval.
  TransactionLoad(const LoadOptions& options, Producers* producers);

  // Returns once every record is answered and every transaction committed, or anything failed. Adds
  // a round to `phase`; with an error it is left as it was.
  Status Run(BenchPhase* phase);

 private:
  // A producer and its part of the records.
  struct Lane {
    Producer* producer = nullptr;
    uint64_t left = 0;  // records to be sent
    uint64_t in_transaction = 0;
    bool is_open = false;
    bool is_waiting = false;  // for an end
  };

  bool has_transactions() const { return options_.kind != LoadKind::kPlain; }
  // Why not to go on; ok if nothing is in the way.
  Status Look();
  void LookAgain();
  void Feed();
  void End(Status why);
  bool HasMoreToSend() const;
  Status SendTurn(Lane* lane);
  Status Begin(Lane* lane);
  Status SendOne(Lane* lane);
  Status Commit(Lane* lane);
  void OnCommitted(Lane* lane, const Status& outcome, MonotonicTime since, MonotonicTime at);
  Status AwaitAnswers();

  // On the client's thread.
  void OnDelivery(const Delivery& delivery);

  const LoadOptions options_;
  const RealClock clock_;
  EventLoop loop_;
  Progress progress_;
  Producers* const producers_;
  std::vector<Lane> lanes_;  // commits' callbacks have pointers to them
  std::string value_;
  MonotonicTime started_at_{};
  MonotonicTime last_at_{};  // of a commit
  uint64_t unended_ = 0;
  uint64_t committed_ = 0;
  Histogram commits_;
  bool is_feeding_ = false;  // another turn is posted
  Status error_;
  // Written by the client's thread; first_error_ once, before has_failed_.
  std::atomic<uint64_t> acknowledged_{0};
  std::atomic<int64_t> acknowledged_at_{0};
  std::atomic<bool> has_failed_{false};
  Status first_error_;
};

}  // namespace millrace::client::cli

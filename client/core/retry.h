// How producer and consumer go on after an error: which errors may heal by themselves, and when the
// next try is due: after a back-off that doubles, with chance in it, and never before the broker's
// RetryInfo says.
//
// Owned by the state machines, per partition and per broker. Pure.
//
//   retry.Fail(error, now, tuning.backoff, random);
//   if (!MayHeal(error, now - retry.failing_since(), tuning.unknown_topic_grace)) {
//     return End(error);
//   }
//   ... try again from retry.at() on; then retry.Clear()
#pragma once

#include <cstdint>
#include <optional>

#include "client/core/backoff.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/random.h"

namespace millrace::client {

// Whether a later try may succeed where one that met `error` failed. A topic that is not known may
// be one that the broker has not heard of yet, but only for `unknown_topic_grace`.
bool MayHeal(const Status& error, Duration failing_for, Duration unknown_topic_grace);

// What kept a partition from going on: told by the state machines after tries that failed and will
// be repeated.
struct Trouble {
  TopicPartition partition;
  BrokerId broker;
  Status status;
  Duration lasts{};  // since the first failure in a row
};

// Keeps of two troubles the one that lasts longer, the newer of equals.
void KeepLonger(std::optional<Trouble>* known, Trouble trouble);

// The failures since the last success.
class RetryState {
 public:
  void Fail(const Status& error, MonotonicTime now, const BackoffOptions& backoff, Random& random);
  // The next try need not wait.
  void Hurry() { at_ = {}; }
  void Clear() { *this = {}; }

  uint32_t failures() const { return failures_; }
  MonotonicTime failing_since() const { return failing_since_; }
  // No try before.
  MonotonicTime at() const { return at_; }
  // Ok if nothing failed.
  const Status& last_error() const { return last_error_; }

 private:
  uint32_t failures_ = 0;
  MonotonicTime failing_since_{};
  MonotonicTime at_{};
  Status last_error_;
};

}  // namespace millrace::client

#include "client/core/retry.h"

#include <algorithm>
#include <utility>

namespace millrace::client {

bool MayHeal(const Status& error, Duration failing_for, Duration unknown_topic_grace) {
  switch (error.code()) {
    case Code::kUnavailable:
    case Code::kResourceExhausted:
    case Code::kDeadlineExceeded:
    case Code::kCancelled:
      return true;
    case Code::kNotFound:
      return error.reason() != Reason::kTopicDeleted && failing_for < unknown_topic_grace;
    case Code::kOk:
    case Code::kUnknown:
    case Code::kInvalidArgument:
    case Code::kAlreadyExists:
    case Code::kPermissionDenied:
    case Code::kFailedPrecondition:
    case Code::kAborted:
    case Code::kOutOfRange:
    case Code::kUnimplemented:
    case Code::kInternal:
    case Code::kDataLoss:
    case Code::kUnauthenticated:
      return false;
  }
  return false;
}

void KeepLonger(std::optional<Trouble>* known, Trouble trouble) {
  if (!*known || (*known)->lasts <= trouble.lasts) *known = std::move(trouble);
}

void RetryState::Fail(const Status& error, MonotonicTime now, const BackoffOptions& backoff,
                      Random& random) {
  if (failures_++ == 0) failing_since_ = now;
  last_error_ = error;
  at_ = now + BackoffDelay(backoff, failures_, random);
  if (error.retry_after_ms()) {
    at_ = std::max(at_, now + std::chrono::milliseconds(*error.retry_after_ms()));
  }
}

}  // namespace millrace::client

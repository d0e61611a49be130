#include "broker/api/error_reply.h"

#include <algorithm>

#include <glog/logging.h>

namespace millrace::broker {
namespace {

constexpr size_t kErrorTextBytesMax = 1024;

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Length of the well-formed UTF-8 character (RFC 3629 section 4) that `text` begins with; 0 if it
// begins with none. Pre: not empty.
size_t CharacterLength(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!IsContinuation(text[i])) return 0;
  }
  // Longer forms than needed, surrogates, and what lies past U+10FFFF.
  const auto second = static_cast<unsigned char>(text[1]);
  const bool is_forbidden = (first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
                            (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F);
  return is_forbidden ? 0 : length;
}

}  // namespace

std::string ErrorText(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    if (out.size() + std::max<size_t>(length, 1) > kErrorTextBytesMax) break;
    if (length == 0) {
      out += '?';
      text.remove_prefix(1);
    } else {
      out += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return out;
}

v1::ErrorInfo ToErrorInfo(const Status& status) {
  v1::ErrorInfo info;
  const std::string_view reason = ReasonName(status.reason());
  info.set_reason(std::string(reason.empty() ? CodeName(status.code()) : reason));
  info.set_domain(kErrorDomain);
  for (const auto& [key, value] : status.metadata()) {
    (*info.mutable_metadata())[ErrorText(key)] = ErrorText(value);
  }
  return info;
}

v1::RetryInfo ToRetryInfo(const Status& status) {
  CHECK(status.retry_after_ms().has_value()) << status;
  const int64_t ms = *status.retry_after_ms();
  v1::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(ms / 1000);
  retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(ms % 1000) * 1'000'000);
  return retry;
}

void ToError(const Status& status, v1::Error* error) {
  CHECK(!status.ok());
  error->Clear();
  error->set_code(static_cast<int32_t>(status.code()));
  error->set_message(ErrorText(status.message()));
  *error->mutable_info() = ToErrorInfo(status);
  if (status.retry_after_ms().has_value()) *error->mutable_retry() = ToRetryInfo(status);
}

}  // namespace millrace::broker

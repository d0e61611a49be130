#include "client/core/error.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "proto/record/wire.h"

namespace millrace::client {
namespace {

Code CodeOf(int code) {
  const bool is_known = code > 0 && code <= static_cast<int>(Code::kUnauthenticated);
  return is_known ? static_cast<Code>(code) : Code::kUnknown;
}

Reason ReasonOf(std::string_view name) {
  for (int i = 1; !ReasonName(static_cast<Reason>(i)).empty(); ++i) {
    if (ReasonName(static_cast<Reason>(i)) == name) return static_cast<Reason>(i);
  }
  return Reason::kNone;
}

// Metadata in the order of its keys: a protobuf map has none of its own.
Status::Metadata Sorted(const v1::ErrorInfo& info) {
  Status::Metadata metadata(info.metadata().begin(), info.metadata().end());
  std::sort(metadata.begin(), metadata.end());
  return metadata;
}

Status Assemble(int code, std::string message, const v1::ErrorInfo* info,
                const v1::RetryInfo* retry) {
  const Reason reason = info == nullptr ? Reason::kNone : ReasonOf(info->reason());
  Status status(CodeOf(code), std::move(message), reason);
  if (info != nullptr) {
    for (auto& [key, value] : Sorted(*info)) status.AddMetadata(key, value);
  }
  if (retry == nullptr || !retry->has_retry_delay()) return status;
  const v1::RetryDelay& delay = retry->retry_delay();
  return std::move(status).RetryAfterMs(delay.seconds() * 1000 + delay.nanos() / 1'000'000);
}

// google.rpc.Status { int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3;
// } where Any is { string type_url = 1; bytes value = 2; }.
struct Any {
  std::string_view type_url;
  std::string_view value;
};

// Reads the next length-delimited field, skipping numbers; false at the end or at anything else.
bool NextDelimited(WireReader* in, unsigned* field, std::string_view* content) {
  uint8_t tag = 0;
  while (!in->AtEnd() && in->ReadTag(&tag)) {
    *field = tag >> 3;
    uint64_t number = 0;
    if ((tag & 7) == static_cast<uint8_t>(WireType::kLengthDelimited)) {
      return in->ReadDelimited(content);
    }
    if ((tag & 7) != static_cast<uint8_t>(WireType::kVarint) || !in->ReadVarint(&number)) {
      return false;
    }
  }
  return false;
}

Any ParseAny(std::string_view bytes) {
  Any any;
  WireReader in(bytes);
  unsigned field = 0;
  std::string_view content;
  while (NextDelimited(&in, &field, &content)) {
    if (field == 1) any.type_url = content;
    if (field == 2) any.value = content;
  }
  return any;
}

template <typename Message>
bool ParseInto(std::string_view bytes, Message* message) {
  return message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

template <typename Number>
bool ParseNumber(std::string_view text, Number* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

std::optional<Offset> OffsetIn(const Status& status, std::string_view name) {
  for (const auto& [key, value] : status.metadata()) {
    int64_t offset = 0;
    if (key == name && ParseNumber(value, &offset)) return Offset(offset);
  }
  return std::nullopt;
}

}  // namespace

Status FromError(const v1::Error& error) {
  return Assemble(error.code(), error.message(), error.has_info() ? &error.info() : nullptr,
                  error.has_retry() ? &error.retry() : nullptr);
}

Status FromRpcStatus(int code, std::string message, std::string_view details) {
  constexpr unsigned kDetails = 3;
  v1::ErrorInfo info;
  v1::RetryInfo retry;
  bool has_info = false;
  bool has_retry = false;
  WireReader in(details);
  unsigned field = 0;
  std::string_view content;
  while (NextDelimited(&in, &field, &content)) {
    if (field != kDetails) continue;
    const Any any = ParseAny(content);
    if (any.type_url.ends_with("/google.rpc.ErrorInfo")) has_info = ParseInto(any.value, &info);
    if (any.type_url.ends_with("/google.rpc.RetryInfo")) has_retry = ParseInto(any.value, &retry);
  }
  return Assemble(code, std::move(message), has_info ? &info : nullptr,
                  has_retry ? &retry : nullptr);
}

std::optional<LeaderHint> LeaderHintOf(const Status& status) {
  if (status.reason() != Reason::kNotLeader) return std::nullopt;
  LeaderHint hint;
  uint32_t broker = 0;
  uint64_t epoch = 0;
  for (const auto& [key, value] : status.metadata()) {
    if (key == "leader_id" && ParseNumber(value, &broker)) hint.broker = BrokerId(broker);
    if (key == "leader_epoch" && ParseNumber(value, &epoch)) hint.epoch = Term(epoch);
    if (key == "leader_address") hint.address = value;
  }
  if (hint.broker == BrokerId()) return std::nullopt;
  return hint;
}

std::optional<Offset> LogStartOf(const Status& status) {
  if (status.reason() != Reason::kOffsetOutOfRange) return std::nullopt;
  return OffsetIn(status, "log_start_offset");
}

std::optional<Offset> MovedEndOf(const Status& status) {
  if (status.reason() != Reason::kOffsetMoved) return std::nullopt;
  return OffsetIn(status, "end_offset");
}

}  // namespace millrace::client

#include "client/api/positions.h"

namespace millrace::internal {
namespace {

constexpr size_t kPrefetchBytesMin = size_t{64} << 10;

}  // namespace

client::StartAt ToStart(const Position& position) {
  switch (position.kind()) {
    case Position::Kind::kEarliest:
      return client::StartAt::Earliest();
    case Position::Kind::kLatest:
      return client::StartAt::Latest();
    case Position::Kind::kOffset:
      return client::StartAt::At(Offset(position.value()));
    case Position::Kind::kTime:
      return client::StartAt::Time(position.value());
  }
  return client::StartAt::Earliest();
}

std::optional<client::StartAt> ToStart(OffsetReset reset) {
  switch (reset) {
    case OffsetReset::kFail:
      break;
    case OffsetReset::kEarliest:
      return client::StartAt::Earliest();
    case OffsetReset::kLatest:
      return client::StartAt::Latest();
  }
  return std::nullopt;
}

v1::Isolation ToWire(Isolation isolation) {
  return isolation == Isolation::kUncommitted ? v1::ISOLATION_UNCOMMITTED : v1::ISOLATION_COMMITTED;
}

std::optional<int64_t> KnownOffset(const Position& position) {
  if (position.kind() != Position::Kind::kOffset) return std::nullopt;
  return position.value();
}

Status CheckPosition(const Position& position) {
  if (position.value() < 0) return InvalidArgument("the position is negative");
  return {};
}

Status CheckPrefetch(size_t prefetch_bytes) {
  if (prefetch_bytes >= kPrefetchBytesMin) return {};
  return InvalidArgument("prefetch_bytes is less than 64 KiB");
}

}  // namespace millrace::internal

#include "proto/record/offset_delta.h"

#include <array>
#include <string_view>

#include <glog/logging.h>

namespace millrace {
namespace {

constexpr unsigned kOffsetDeltaField = 5;
constexpr uint8_t kOffsetDeltaTag = WireTag(kOffsetDeltaField, WireType::kVarint);

std::string WithoutOffsetDelta(std::string_view record) {
  std::string kept;
  WireReader in(record);
  while (!in.AtEnd()) {
    const std::string_view from_tag = in.rest();
    uint8_t tag = 0;
    static_cast<void>(in.ReadTag(&tag));
    CHECK(in.SkipField(tag)) << "the record was read before";
    if (tag != kOffsetDeltaTag) kept += from_tag.substr(0, from_tag.size() - in.rest().size());
  }
  return kept;
}

// Appends what `write` writes, at most 16 bytes.
template <typename Write>
void AppendWritten(std::string* records, Write write) {
  std::array<char, 16> bytes;
  WireWriter out(bytes.data());
  write(&out);
  records->append(bytes.data(), out.position());
}

}  // namespace

void AppendRecord(const RecordView& record, const RecordPlace& place, std::string* records) {
  // A producer may have written a delta of 0, too, and no field comes twice.
  const bool has_delta = record.offset_delta != 0 || place.offset_delta != 0;
  const std::string without = has_delta ? WithoutOffsetDelta(record.bytes) : std::string();
  const std::string_view bytes = has_delta ? std::string_view(without) : record.bytes;
  const size_t delta_size = place.offset_delta == 0 ? 0 : 1 + VarintSize(place.offset_delta);
  AppendWritten(records, [&](WireWriter* out) {
    out->Byte(place.tag);
    out->Varint(bytes.size() + delta_size);
  });
  records->append(bytes);
  AppendWritten(records,
                [&](WireWriter* out) { out->Number(kOffsetDeltaField, place.offset_delta); });
}

}  // namespace millrace

#include "client/api/record_queue.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::internal {
namespace {

struct Taken {
  std::optional<std::string> key;
  std::optional<std::string> value;
  std::vector<std::pair<std::string, std::optional<std::string>>> headers;
  int64_t timestamp_ms = 0;
  std::optional<PartitionId> partition;
  std::optional<Offset> expected_end;
  size_t size = 0;
  bool has_callback = false;
};

std::optional<std::string> Copy(std::optional<std::string_view> text) {
  if (!text) return std::nullopt;
  return std::string(*text);
}

std::vector<Taken> TakeAll(RecordQueue* queue) {
  std::vector<Taken> all;
  queue->TakeAll([&](const NewRecord& record, const RecordQueue::Place& place, size_t size,
                     const DeliveryCallback& on_delivery) {
    Taken& taken = all.emplace_back();
    taken.key = Copy(record.key);
    taken.value = Copy(record.value);
    for (const HeaderView& header : record.headers) {
      taken.headers.emplace_back(std::string(header.key), Copy(header.value));
    }
    taken.timestamp_ms = record.timestamp_ms;
    taken.partition = place.partition;
    taken.expected_end = place.expected_end;
    taken.size = size;
    taken.has_callback = on_delivery != nullptr;
  });
  return all;
}

TEST(RecordQueue, GivesRecordsBackInOrder_NullsAndEmptyOnesApart) {
  RecordQueue queue;
  const std::vector<HeaderView> headers = {{.key = "h", .value = "1"}, {.key = "", .value = {}}};
  queue.Push({.key = "k", .value = "v", .headers = headers, .timestamp_ms = 7},
             {.partition = PartitionId(3), .expected_end = Offset(0)}, 40, {});
  queue.Push({.value = ""}, {}, 2, [](const Delivery&) {});
  const std::vector<Taken> all = TakeAll(&queue);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].key, "k");
  EXPECT_EQ(all[0].value, "v");
  ASSERT_EQ(all[0].headers.size(), 2u);
  EXPECT_EQ(all[0].headers[0].second, "1");
  EXPECT_FALSE(all[0].headers[1].second.has_value());
  EXPECT_EQ(all[0].timestamp_ms, 7);
  EXPECT_EQ(all[0].partition, PartitionId(3));
  EXPECT_EQ(all[0].expected_end, Offset(0));
  EXPECT_EQ(all[0].size, 40u);
  EXPECT_FALSE(all[0].has_callback);
  EXPECT_FALSE(all[1].key.has_value());
  EXPECT_EQ(all[1].value, "");
  EXPECT_TRUE(all[1].headers.empty());
  EXPECT_FALSE(all[1].partition.has_value());
  EXPECT_FALSE(all[1].expected_end.has_value());
  EXPECT_TRUE(all[1].has_callback);
  EXPECT_TRUE(queue.empty());
}

TEST(RecordQueue, IsEmptyAfterwards_AndTakesMore) {
  RecordQueue queue;
  queue.Push({.value = "a"}, {}, 1, {});
  EXPECT_EQ(TakeAll(&queue).size(), 1u);
  queue.Push({.value = "b"}, {}, 1, {});
  EXPECT_EQ(TakeAll(&queue).at(0).value, "b");
  EXPECT_TRUE(TakeAll(&queue).empty());
}

}  // namespace
}  // namespace millrace::internal

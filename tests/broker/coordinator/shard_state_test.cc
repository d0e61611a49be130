// What a shard of the coordinator has applied: the same on every replica, wherever it began.
#include "broker/coordinator/shard_state.h"

#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "raft/runtime/random.h"

namespace millrace::broker {
namespace {

using internal::v1::CoordinatorRecord;
using internal::v1::CoordinatorState;

CoordinatorRecord Committed(const std::string& group, uint64_t topic,
                            const std::vector<std::pair<uint32_t, int64_t>>& offsets,
                            const std::string& metadata = "") {
  CoordinatorRecord record;
  record.mutable_offsets_committed()->set_group(group);
  auto& out = *record.mutable_offsets_committed()->add_topics();
  out.set_topic_id(topic);
  for (const auto& [partition, offset] : offsets) {
    out.add_partitions(partition);
    out.add_offsets(offset);
    out.add_leader_epochs(7);
  }
  if (metadata.empty()) return record;
  auto& placed = *out.add_metadata();
  placed.set_place(static_cast<uint32_t>(offsets.size() - 1));
  placed.set_metadata(metadata);
  return record;
}

CoordinatorRecord Removed(const std::string& group, uint64_t topic,
                          const std::vector<uint32_t>& partitions, uint64_t up_to) {
  CoordinatorRecord record;
  auto& removed = *record.mutable_offsets_removed();
  removed.set_group(group);
  removed.set_topic_id(topic);
  for (const uint32_t partition : partitions) removed.add_partitions(partition);
  removed.set_up_to_index(up_to);
  return record;
}

CoordinatorRecord GroupRemoved(const std::string& group, uint64_t up_to) {
  CoordinatorRecord record;
  record.mutable_group_removed()->set_group(group);
  record.mutable_group_removed()->set_up_to_index(up_to);
  return record;
}

CoordinatorRecord Changed(const std::string& group, uint32_t epoch) {
  CoordinatorRecord record;
  record.mutable_group_changed()->set_group(group);
  record.mutable_group_changed()->set_kind(internal::v1::GROUP_KIND_LOG);
  record.mutable_group_changed()->set_epoch(epoch);
  return record;
}

std::string Saved(const ShardState& state) {
  CoordinatorState saved;
  state.SaveTo(&saved);
  return saved.SerializeAsString();
}

Result<ShardState> Reloaded(const ShardState& state) {
  CoordinatorState saved;
  state.SaveTo(&saved);
  return ShardState::LoadFrom(saved);
}

// Applies records one after the other, each as an entry of its own.
class Applied {
 public:
  ShardState state;
  Status Apply(const CoordinatorRecord& record) {
    const uint64_t index = ++last_;
    return state.Apply(record, {.index = LogIndex(index), .time_ms = TimeOf(index)});
  }
  static int64_t TimeOf(uint64_t index) { return static_cast<int64_t>(1000 + 3 * index); }

 private:
  uint64_t last_ = 0;
};

class Drawn {
 public:
  explicit Drawn(uint64_t seed) : random_(seed) {}
  CoordinatorRecord Next(uint64_t index) {
    const std::string group = "group-" + std::to_string(random_.Below(12));
    const uint64_t topic = random_.Below(3) + 1;
    switch (random_.Below(8)) {
      case 0:
        return Removed(group, topic, Partitions(),
                       index - random_.Below(std::min<uint64_t>(index, 9)));
      case 1:
        return GroupRemoved(group, random_.OneIn(2) ? 0 : index - 1);
      case 2:
        return Changed(group, ++epoch_);
      default:
        break;
    }
    std::vector<std::pair<uint32_t, int64_t>> offsets;
    for (const uint32_t partition : Partitions()) {
      offsets.emplace_back(partition, static_cast<int64_t>(random_.Below(1'000'000)));
    }
    if (offsets.empty()) offsets.emplace_back(0, 1);
    return Committed(group, topic, offsets, random_.OneIn(3) ? "meta" : "");
  }

 private:
  std::vector<uint32_t> Partitions() {
    std::set<uint32_t> partitions;
    for (uint64_t i = random_.Below(5); i > 0; --i) {
      partitions.insert(static_cast<uint32_t>(random_.Below(20)));
    }
    return {partitions.begin(), partitions.end()};
  }
  Random random_;
  uint32_t epoch_ = 0;
};

TEST(ShardState, IsWhatItsRecordsSay_WhereverItWasSavedAndLoaded) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Drawn drawn(seed);
    Applied whole;
    std::vector<CoordinatorRecord> records;
    for (uint64_t i = 1; i <= 60; ++i) {
      records.push_back(drawn.Next(i));
      ASSERT_TRUE(whole.Apply(records.back()).ok()) << records.back().ShortDebugString();
    }
    for (size_t cut = 0; cut <= records.size(); cut += 7) {
      Applied part;
      for (size_t i = 0; i < records.size(); ++i) {
        if (i == cut) {
          Result<ShardState> loaded = Reloaded(part.state);
          ASSERT_TRUE(loaded.ok()) << loaded.status();
          ASSERT_EQ(Saved(*loaded), Saved(part.state)) << "seed=" << seed << " cut=" << cut;
          part.state = *std::move(loaded);
        }
        ASSERT_TRUE(part.Apply(records[i]).ok());
      }
      ASSERT_EQ(Saved(part.state), Saved(whole.state)) << "seed=" << seed << " cut=" << cut;
      ASSERT_EQ(part.state.group_count(), whole.state.group_count());
    }
  }
}

TEST(ShardState, AViewOfIt_IsFrozen) {
  Drawn drawn(3);
  Applied applied;
  for (uint64_t i = 1; i <= 100; ++i) {
    const ShardState view = applied.state;
    const std::string before = Saved(view);
    ASSERT_TRUE(applied.Apply(drawn.Next(i)).ok());
    ASSERT_EQ(Saved(view), before) << i;
  }
}

TEST(ShardState, OfTwoCommits_TheLaterEntrysCounts_WithItsMetadataAndTime) {
  Applied applied;
  ASSERT_TRUE(applied.Apply(Committed("g", 5, {{0, 10}, {3, 20}}, "first")).ok());
  ASSERT_TRUE(applied.Apply(Committed("g", 5, {{3, 15}})).ok());
  const Group& group = *applied.state.Find("g");
  const CommittedOffset* older = group.FindOffset({TopicId(5), PartitionId(0)});
  const CommittedOffset* newer = group.FindOffset({TopicId(5), PartitionId(3)});
  ASSERT_NE(older, nullptr);
  ASSERT_NE(newer, nullptr);
  EXPECT_EQ(older->offset, Offset(10));
  EXPECT_EQ(older->index, LogIndex(1));
  EXPECT_EQ(newer->offset, Offset(15));
  EXPECT_EQ(newer->index, LogIndex(2));
  EXPECT_EQ(newer->time_ms, Applied::TimeOf(2));
  EXPECT_EQ(newer->leader_epoch, LeaderEpoch(7));
  EXPECT_EQ(group.offsets.at(TopicId(5)).MetadataOf(PartitionId(3)), "");
  EXPECT_EQ(group.FindOffset({TopicId(5), PartitionId(1)}), nullptr);
  EXPECT_EQ(group.FindOffset({TopicId(6), PartitionId(0)}), nullptr);
}

// What was decided on an older state takes nothing that came since.
TEST(ShardState, ARemoval_LeavesWhatWasCommittedAfterItWasDecided) {
  Applied applied;
  ASSERT_TRUE(applied.Apply(Committed("g", 5, {{0, 10}, {1, 20}})).ok());  // entry 1
  ASSERT_TRUE(applied.Apply(Committed("g", 5, {{1, 21}})).ok());           // entry 2
  ASSERT_TRUE(applied.Apply(GroupRemoved("g", 1)).ok());
  ASSERT_NE(applied.state.Find("g"), nullptr);
  ASSERT_TRUE(applied.Apply(Removed("g", 5, {}, 1)).ok());
  const Group& group = *applied.state.Find("g");
  EXPECT_EQ(group.FindOffset({TopicId(5), PartitionId(0)}), nullptr);
  EXPECT_NE(group.FindOffset({TopicId(5), PartitionId(1)}), nullptr);
  ASSERT_TRUE(applied.Apply(GroupRemoved("g", 2)).ok());
  EXPECT_EQ(applied.state.Find("g"), nullptr);
}

TEST(ShardState, WhatIsGone_HoldsNoMemory) {
  Drawn drawn(9);
  Applied applied;
  for (uint64_t i = 1; i <= 300; ++i) ASSERT_TRUE(applied.Apply(drawn.Next(i)).ok());
  EXPECT_GT(applied.state.bytes(), 0U);
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(applied.Apply(GroupRemoved("group-" + std::to_string(i), 0)).ok());
  }
  EXPECT_EQ(applied.state.group_count(), 0U);
  EXPECT_EQ(applied.state.bytes(), 0U);
}

// What millions of committed offsets are reckoned with.
TEST(ShardState, AnOffset_TakesLessThanFortyBytes_WhereAGroupHasAHundred) {
  Applied applied;
  for (int group = 0; group < 100; ++group) {
    for (uint32_t partition = 0; partition < 100; ++partition) {
      ASSERT_TRUE(
          applied.Apply(Committed("group-" + std::to_string(group), 1, {{partition, 1'000'000}}))
              .ok());
    }
  }
  EXPECT_LT(applied.state.bytes(), 40U * 100 * 100);
}

TEST(ShardState, ItsGroups_AreFoundOneAfterTheOther_AlsoBehindOneThatIsGone) {
  Applied applied;
  std::set<std::string> names;
  for (int i = 0; i < 500; ++i) {
    names.insert("name-" + std::to_string(i));
    ASSERT_TRUE(applied.Apply(Changed("name-" + std::to_string(i), 1)).ok());
  }
  std::set<std::string> found;
  ShardState::Cursor cursor;
  while (applied.state.Next(&cursor) != nullptr) {
    EXPECT_TRUE(found.insert(cursor.name).second) << cursor.name << " twice";
    if (found.size() != 250) continue;
    ASSERT_TRUE(applied.Apply(GroupRemoved(cursor.name, 0)).ok());
  }
  EXPECT_EQ(found, names);
}

TEST(ShardState, WhatItDoesNotKnow_ChangesNothing) {
  Applied applied;
  ASSERT_TRUE(applied.Apply(Committed("g", 5, {{0, 10}})).ok());
  const std::string before = Saved(applied.state);
  EXPECT_EQ(applied.Apply(CoordinatorRecord()).code(), Code::kUnimplemented);
  CoordinatorRecord kind = Changed("g", 2);
  kind.mutable_group_changed()->set_kind(static_cast<internal::v1::GroupKind>(2));
  EXPECT_EQ(applied.Apply(kind).code(), Code::kUnimplemented);
  CoordinatorRecord columns = Committed("g", 5, {{0, 11}, {1, 12}});
  columns.mutable_offsets_committed()->mutable_topics(0)->mutable_offsets()->RemoveLast();
  EXPECT_EQ(applied.Apply(columns).code(), Code::kDataLoss);
  CoordinatorRecord place = Committed("g", 5, {{0, 11}}, "m");
  place.mutable_offsets_committed()->mutable_topics(0)->mutable_metadata(0)->set_place(1);
  EXPECT_EQ(applied.Apply(place).code(), Code::kDataLoss);
  EXPECT_EQ(Saved(applied.state), before);
}

TEST(ShardState, AStateThatIsNone_OrALaterVersions_IsNotLoaded) {
  Applied applied;
  ASSERT_TRUE(applied.Apply(Committed("g", 5, {{0, 10}, {1, 11}})).ok());
  CoordinatorState saved;
  applied.state.SaveTo(&saved);
  ASSERT_TRUE(ShardState::LoadFrom(saved).ok());
  EXPECT_EQ(ShardState::LoadFrom(CoordinatorState()).status().code(), Code::kDataLoss);
  CoordinatorState later = saved;
  later.set_version(2);
  EXPECT_EQ(ShardState::LoadFrom(later).status().code(), Code::kUnimplemented);
  CoordinatorState twice = saved;
  *twice.add_groups() = saved.groups(0);
  EXPECT_EQ(ShardState::LoadFrom(twice).status().code(), Code::kDataLoss);
  CoordinatorState columns = saved;
  columns.mutable_groups(0)->mutable_topics(0)->mutable_index_steps()->RemoveLast();
  EXPECT_EQ(ShardState::LoadFrom(columns).status().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace millrace::broker

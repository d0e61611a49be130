// What a shard of the coordinator has applied: the same on every replica, wherever it began.
#include "broker/coordinator/shard_state.h"

#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "broker/coordinator/member_requests.h"
#include "broker/coordinator/transaction_requests.h"
#include "raft/runtime/random.h"
#include "tests/broker/coordinator/member_rig.h"
#include "tests/broker/coordinator/transaction_rig.h"

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

// Of the members, as each group tells; vectors of offsets grow as they come.
size_t HeldBytes(const ShardState& state) {
  size_t bytes = 0;
  ShardState::Cursor cursor;
  while (const Group* group = state.Next(&cursor)) bytes += group->membership->bytes();
  return bytes;
}

// What is found of transactional ids by other ways than their names.
std::string IndexedIn(const ShardState& state) {
  std::string found;
  const TransactionTable& table = state.transactions();
  table.ongoing().ForEach([&](const std::string& id, uint64_t number) {
    found += id + " goes on with " + std::to_string(number) + "\n";
  });
  table.completing().ForEach([&](const std::string& id, uint64_t number) {
    found += id + " completes " + std::to_string(number) + "\n";
  });
  TransactionTable::Cursor cursor;
  while (const TransactionalId* id = table.Next(&cursor)) {
    EXPECT_EQ(*table.FindByProducer(id->producer), cursor.name);
  }
  return found;
}

// Whether the transactional ids are the same, whatever of them is saved.
bool HaveTheSameIds(const ShardState& one, const ShardState& other) {
  TransactionTable::Cursor cursor;
  while (const TransactionalId* id = one.transactions().Next(&cursor)) {
    const TransactionalId* same = other.transactions().Find(cursor.name);
    if (same == nullptr || *same != *id) return false;
  }
  return one.transactions().size() == other.transactions().size();
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
  // As one entry.
  void Apply(const std::vector<CoordinatorRecord>& records) {
    const uint64_t index = ++last_;
    for (const CoordinatorRecord& record : records) {
      const Status applied =
          state.Apply(record, {.index = LogIndex(index), .time_ms = TimeOf(index)});
      ASSERT_TRUE(applied.ok()) << applied << " " << record.ShortDebugString();
    }
  }
  uint64_t last() const { return last_; }
  static int64_t TimeOf(uint64_t index) { return static_cast<int64_t>(1000 + 3 * index); }

 private:
  uint64_t last_ = 0;
};

// Histories of groups and transactional ids: what may follow on a state, as a shard would decide
// it.
class Drawn {
 public:
  explicit Drawn(uint64_t seed) : random_(seed) {}
  // All records of one entry.
  std::vector<CoordinatorRecord> Next(const ShardState& state, uint64_t index) {
    if (random_.OneIn(3)) {
      const internal::v1::CoordinatorRecords decided = NextOfTransaction(state);
      if (!decided.records().empty()) return {decided.records().begin(), decided.records().end()};
    }
    const std::string group = "group-" + std::to_string(random_.Below(12));
    if (random_.OneIn(2)) {
      const CoordinatorDecision decided =
          random_.OneIn(3) ? NextTarget(state, group) : NextOfMember(state, group);
      if (decided.ok() && !decided->records().empty()) {
        return {decided->records().begin(), decided->records().end()};
      }
    }
    return {NextOfGroup(state, group, index)};
  }

 private:
  CoordinatorDecision NextOfMember(const ShardState& state, const std::string& group) {
    const Group* known = state.Find(group);
    internal::v1::MemberRequest request;
    request.set_group(group);
    request.set_member_id("m" + std::to_string(random_.Below(4)));
    request.set_session(1 + random_.Below(2));
    request.set_member_epoch(random_.OneIn(4) ? -1 - static_cast<int32_t>(random_.Below(2)) : 0);
    *request.mutable_info() =
        InfoOf(request.member_id(), random_.OneIn(2) ? "i" + std::to_string(random_.Below(2)) : "",
               "topic-" + std::to_string(random_.Below(2)));
    const Member* member =
        known == nullptr ? nullptr : known->membership->Find(request.member_id());
    if (member != nullptr && request.member_epoch() == 0 && random_.OneIn(2)) {
      // It has given up what it was to.
      request.set_member_epoch(static_cast<int32_t>(member->epoch));
      request.set_known_version(member->assigned_index.value());
      request.mutable_owned();
    }
    return DecideMember(state, {.image = image_}, request,
                        [](const std::string&) { return false; });
  }
  CoordinatorDecision NextTarget(const ShardState& state, const std::string& group) {
    const Group* known = state.Find(group);
    if (known == nullptr) return internal::v1::CoordinatorRecords();
    const auto partitions = static_cast<uint32_t>(8 + random_.Below(3));
    std::vector<std::pair<std::string, std::string>> members;
    for (const auto& [id, member] : known->membership->members()) members.emplace_back(id, "");
    for (uint32_t partition = 0; partition < partitions && !members.empty(); ++partition) {
      std::string& text = members[random_.Below(members.size())].second;
      text += (text.empty() ? "" : ",") + std::to_string(partition);
    }
    const auto epoch = known->epoch + static_cast<uint32_t>(random_.Below(2));
    return DecideTarget(state, group, known->epoch, TargetOf(epoch, members, partitions));
  }
  internal::v1::CoordinatorRecords NextOfTransaction(const ShardState& state) {
    const std::string id = "id-" + std::to_string(random_.Below(5));
    const TransactionalId* known = state.transactions().Find(id);
    if (known == nullptr || random_.OneIn(8)) {
      return DecideInit(state, {.image = image_}, InitOf(id, ++requests_),
                        {.offered = ProducerOf(id, ++blocks_)})
          .records;
    }
    const TransactionName name{.producer = known->producer,
                               .epoch = known->epoch,
                               .number = known->last.number + 1 + random_.Below(2)};
    switch (random_.Below(6)) {
      case 0:
        return DecideEnd(state, EndOf(id, name, random_.OneIn(2) ? kCommit : kAbort)).records;
      case 1:
        if (!known->ongoing.has_value()) break;
        return *DecideTimeLimit(state, id, {known->producer, known->epoch, known->ongoing->number});
      case 2:
        return *DecideForget(state, id, INT64_MAX);
      case 3:
        if (!known->completing.has_value()) break;
        return *DecideEnded(
            state, ToldOf(id, known->completing->name,
                          {known->completing->participants.front().value(), random_.Below(20)}));
      default:
        break;
    }
    auto request = RegisterOf(name, {random_.Below(20), random_.Below(20)});
    if (random_.OneIn(9)) {
      for (uint64_t i = 0; i <= kParticipantsMax; ++i) request.add_participants(100 + i);
    }
    return DecideRegister(state, {.image = image_}, request).records;
  }
  CoordinatorRecord NextOfGroup(const ShardState& state, const std::string& group, uint64_t index) {
    const Group* known = state.Find(group);
    const uint64_t topic = random_.Below(3) + 1;
    switch (random_.Below(8)) {
      case 0:
        return Removed(group, topic, Partitions(),
                       index - random_.Below(std::min<uint64_t>(index, 9)));
      case 1:
        return GroupRemoved(group, random_.OneIn(2) ? 0 : index - 1);
      case 2:
        return Changed(group, known == nullptr ? 1 : known->epoch + 1);
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
  std::vector<uint32_t> Partitions() {
    std::set<uint32_t> partitions;
    for (uint64_t i = random_.Below(5); i > 0; --i) {
      partitions.insert(static_cast<uint32_t>(random_.Below(20)));
    }
    return {partitions.begin(), partitions.end()};
  }
  Random random_;
  Image image_;
  uint64_t requests_ = 0;
  uint64_t blocks_ = 0;
};

// Applies the next entry of the history; its records, as the shard applied them.
std::vector<CoordinatorRecord> Advance(Drawn* drawn, Applied* applied) {
  std::vector<CoordinatorRecord> records = drawn->Next(applied->state, applied->last() + 1);
  applied->Apply(records);
  return records;
}

TEST(ShardState, IsWhatItsRecordsSay_WhereverItWasSavedAndLoaded) {
  std::set<int> kinds;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Drawn drawn(seed);
    Applied whole;
    std::vector<std::vector<CoordinatorRecord>> entries;
    for (int i = 0; i < 150; ++i) entries.push_back(Advance(&drawn, &whole));
    for (const auto& records : entries) {
      for (const CoordinatorRecord& record : records) kinds.insert(record.record_case());
    }
    for (size_t cut = 0; cut <= entries.size(); cut += 17) {
      Applied part;
      for (size_t i = 0; i < entries.size(); ++i) {
        if (i == cut) {
          Result<ShardState> loaded = Reloaded(part.state);
          ASSERT_TRUE(loaded.ok()) << loaded.status();
          ASSERT_EQ(Saved(*loaded), Saved(part.state)) << "seed=" << seed << " cut=" << cut;
          part.state = *std::move(loaded);
        }
        part.Apply(entries[i]);
      }
      ASSERT_EQ(Saved(part.state), Saved(whole.state)) << "seed=" << seed << " cut=" << cut;
      ASSERT_EQ(part.state.group_count(), whole.state.group_count());
      ASSERT_EQ(part.state.transactions().bytes(), whole.state.transactions().bytes());
      ASSERT_EQ(IndexedIn(part.state), IndexedIn(whole.state));
      ASSERT_TRUE(HaveTheSameIds(part.state, whole.state)) << "seed=" << seed << " cut=" << cut;
      ASSERT_EQ(HeldBytes(part.state), HeldBytes(whole.state)) << "seed=" << seed << " cut=" << cut;
    }
  }
  EXPECT_EQ(kinds.size(), 12U) << "each kind of record there is";
}

TEST(ShardState, AViewOfIt_IsFrozen) {
  Drawn drawn(3);
  Applied applied;
  for (int i = 1; i <= 200; ++i) {
    const ShardState view = applied.state;
    const std::string before = Saved(view);
    Advance(&drawn, &applied);
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
  for (int i = 1; i <= 300; ++i) Advance(&drawn, &applied);
  EXPECT_GT(applied.state.bytes(), 0U);
  for (int i = 0; i < 12; ++i) {
    ASSERT_TRUE(applied.Apply(GroupRemoved("group-" + std::to_string(i), 0)).ok());
  }
  EXPECT_EQ(applied.state.group_count(), 0U);
  EXPECT_EQ(applied.state.bytes(), applied.state.transactions().bytes());
}

// Else who wrote elsewhere with a token of the group that is gone would stand before the new
// owners.
TEST(ShardState, TheEpochsOfAGroupThatIsMadeAnew_GoOn) {
  Applied applied;
  ASSERT_TRUE(applied.Apply(Changed("g", 7)).ok());
  ASSERT_TRUE(applied.Apply(GroupRemoved("g", 0)).ok());
  CoordinatorState saved;
  applied.state.SaveTo(&saved);
  const Result<ShardState> loaded = ShardState::LoadFrom(saved);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->epoch_floor(), 7U);
  ASSERT_TRUE(applied.Apply(Committed("g", 1, {{0, 1}})).ok());
  EXPECT_EQ(applied.state.Find("g")->epoch, 7U);
  ASSERT_TRUE(applied.Apply(Changed("g", 8)).ok());
  EXPECT_EQ(applied.state.epoch_floor(), 7U);
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

TEST(ShardState, WhatMembersCannotHaveDone_ChangesNothing_AndMakesNoGroup) {
  Applied applied;
  CoordinatorRecord comes;
  *comes.mutable_member_changed() = Comes("a", 5);
  CoordinatorRecord stranger = comes;
  stranger.mutable_member_changed()->mutable_member()->clear_native();
  EXPECT_EQ(applied.Apply(stranger).code(), Code::kUnimplemented);
  CoordinatorRecord removed;
  *removed.mutable_member_removed() = Goes("a", 5);
  EXPECT_EQ(applied.Apply(removed).code(), Code::kDataLoss);
  CoordinatorRecord assigned;
  *assigned.mutable_member_assigned() = Has("a", 5, {});
  EXPECT_EQ(applied.Apply(assigned).code(), Code::kDataLoss);
  CoordinatorRecord target;
  *target.mutable_target_computed() = TargetOf(5, {});
  EXPECT_EQ(applied.Apply(target).code(), Code::kDataLoss);
  EXPECT_EQ(applied.state.group_count(), 0U);
  EXPECT_EQ(applied.state.bytes(), 0U);
  ASSERT_TRUE(applied.Apply(comes).ok());
  EXPECT_EQ(applied.state.Find("g")->epoch, 5U);
  const std::string before = Saved(applied.state);
  comes.mutable_member_changed()->set_epoch(4);
  removed.mutable_member_removed()->set_epoch(4);
  target.mutable_target_computed()->set_epoch(4);
  EXPECT_EQ(applied.Apply(comes).code(), Code::kDataLoss);
  EXPECT_EQ(applied.Apply(removed).code(), Code::kDataLoss);
  EXPECT_EQ(applied.Apply(target).code(), Code::kDataLoss);
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
  later.set_version(3);
  EXPECT_EQ(ShardState::LoadFrom(later).status().code(), Code::kUnimplemented);
  CoordinatorState twice = saved;
  *twice.add_groups() = saved.groups(0);
  EXPECT_EQ(ShardState::LoadFrom(twice).status().code(), Code::kDataLoss);
  CoordinatorState columns = saved;
  columns.mutable_groups(0)->mutable_topics(0)->mutable_index_steps()->RemoveLast();
  EXPECT_EQ(ShardState::LoadFrom(columns).status().code(), Code::kDataLoss);
}

// A build that does not know of transactional ids stands still there rather than forget them.
TEST(ShardState, OneWithTransactionalIds_IsOfVersionTwo) {
  Applied applied;
  ASSERT_TRUE(applied.Apply(Committed("g", 5, {{0, 10}})).ok());
  CoordinatorState saved;
  applied.state.SaveTo(&saved);
  EXPECT_EQ(saved.version(), 1U);
  const Image image;
  const auto decided =
      DecideInit(applied.state, {.image = image}, InitOf("a", 1), {.offered = ProducerOf("a")});
  ASSERT_TRUE(applied.Apply(decided.records.records(0)).ok());
  saved.Clear();
  applied.state.SaveTo(&saved);
  EXPECT_EQ(saved.version(), 2U);
}

}  // namespace
}  // namespace millrace::broker

// The worked examples of docs/formats.md: what the page shows is what the software writes, and the
// parsers read out of the page's bytes what the page says they say.
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proto/frame/frame.h"
#include "proto/record/record_batch.h"
#include "storage/journal/format.h"
#include "storage/journal/replay.h"
#include "storage/segment/format.h"
#include "storage/superblock/superblock.h"
#include "tests/docs/dump.h"
#include "tests/docs/examples.h"
#include "tests/storage/segment/segment_rig.h"

namespace millrace::docs {
namespace {

namespace journal = storage::journal;
using Sayings = std::vector<std::string>;

constexpr char kPage[] = MILLRACE_SOURCE_DIR "/docs/formats.md";

std::string ReadPage() {
  std::ostringstream text;
  text << std::ifstream(kPage).rdbuf();
  return text.str();
}

struct Place {
  size_t begin = 0;
  size_t size = 0;
};

// Where the page has the dump: between "```dump <name>" and "```".
Place Find(const std::string& page, const std::string& name) {
  const std::string head = "\n```dump " + name + "\n";
  const size_t at = page.find(head);
  EXPECT_NE(at, std::string::npos) << "docs/formats.md has no dump of " << name;
  if (at == std::string::npos) return {};
  const size_t begin = at + head.size();
  return {.begin = begin, .size = page.find("```", begin) - begin};
}

std::string TextOf(const std::string& page, const std::string& name) {
  const Place place = Find(page, name);
  return page.substr(place.begin, place.size);
}

void Rewrite(const std::map<std::string, Dump>& examples) {
  std::string page = ReadPage();
  for (const auto& [name, dump] : examples) {
    const Place place = Find(page, name);
    if (place.begin != 0) page.replace(place.begin, place.size, dump.Render());
  }
  std::ofstream(kPage) << page;
}

// What the page's dumps hold, those that they refer to first.
std::map<std::string, PageDump> ReadDumps() {
  const std::string page = ReadPage();
  std::map<std::string, PageDump> dumps;
  std::map<std::string, std::string> bytes;
  for (const char* name :
       {"record batch", "frame", "superblock", "head block", "block", "segment"}) {
    dumps[name] = ReadDump(TextOf(page, name), bytes);
    bytes[name] = dumps[name].bytes;
  }
  return dumps;
}

class FormatsPage : public testing::Test {
 protected:
  static const std::string& BytesOf(const std::string& name) { return Dumps().at(name).bytes; }
  static void ExpectSaid(const std::string& name, const Sayings& sayings) {
    for (const std::string& saying : sayings) {
      EXPECT_TRUE(Dumps().at(name).sayings.contains(saying))
          << "the page's " << name << " does not say: " << saying;
    }
  }

 private:
  static const std::map<std::string, PageDump>& Dumps() {
    static const std::map<std::string, PageDump> dumps = ReadDumps();
    return dumps;
  }
};

TEST_F(FormatsPage, EveryExample_IsWhatTheSoftwareWrites) {
  const std::map<std::string, Dump> examples = MakeExamples();
  if (std::getenv("REWRITE") != nullptr) Rewrite(examples);
  const std::string page = ReadPage();
  for (const auto& [name, dump] : examples) {
    EXPECT_EQ(TextOf(page, name), dump.Render())
        << name << ": rerun with REWRITE=1 to write docs/formats.md, and review the difference";
  }
}

TEST_F(FormatsPage, RecordBatch_IsReadAsThePageSays) {
  const Result<RecordBatchView> batch = ParseRecordBatch(BytesOf("record batch"), kPartition);
  ASSERT_TRUE(batch.ok()) << batch.status();
  Sayings read{Say("producer_id", batch->producer_id.value()),
               Say("producer_epoch", batch->producer_epoch),
               Say("record_count", batch->record_count),
               Say("max_timestamp_ms", static_cast<uint64_t>(batch->max_timestamp_ms)),
               SayHex("checksum", batch->checksum, 4)};
  EXPECT_TRUE(batch->is_packed);
  RecordIterator records(*batch);
  for (RecordView record; records.Next(&record);) {
    if (record.key) read.push_back(SayText("packed.records.key", *record.key));
    if (record.value) read.push_back(SayText("packed.records.value", *record.value));
    read.push_back(Say("packed.records.timestamp_ms", static_cast<uint64_t>(record.timestamp_ms)));
  }
  EXPECT_EQ(records.records_read(), 2U);
  ExpectSaid("record batch", read);
}

TEST_F(FormatsPage, Frame_IsReadAsThePageSays) {
  const Result<FrameHeader> frame = ParseFrame(BytesOf("frame"));
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_EQ(frame->chain, FrameChain(0, *frame));
  EXPECT_EQ(BytesOf("frame").substr(kFrameHeaderSize, frame->payload_size),
            BytesOf("record batch"));
  ExpectSaid(
      "frame",
      {Say("type", static_cast<uint64_t>(frame->type)), Say("feature level", frame->feature_level),
       Say("payload size", frame->payload_size), Say("raft group id", frame->group.value()),
       Say("term", frame->term.value()), Say("index", frame->index.value()),
       Say("base offset", static_cast<uint64_t>(frame->base_offset.value())),
       Say("offset span", frame->offset_span), Say("record count", frame->record_count),
       Say("append time", static_cast<uint64_t>(frame->append_time_ms)),
       Say("max timestamp", static_cast<uint64_t>(frame->max_timestamp_ms)),
       Say("producer id", frame->producer_id.value()), Say("producer epoch", frame->producer_epoch),
       Say("first sequence", frame->first_sequence), SayHex("payload crc", frame->payload_crc, 4),
       SayHex("stored crc", frame->stored_crc, 4), SayHex("chain", frame->chain, 4),
       Say("flags", frame->flags)});
}

TEST_F(FormatsPage, Superblock_IsReadAsThePageSays) {
  const auto superblock = storage::ParseSuperblock(BytesOf("superblock"));
  ASSERT_TRUE(superblock.ok()) << superblock.status();
  const storage::SuperblockFacts& facts = superblock->facts;
  ASSERT_EQ(facts.controllers.size(), 1U);
  ExpectSaid(
      "superblock",
      {Say("sequence", superblock->sequence), SayHex("cluster uuid", facts.cluster_uuid, 8),
       SayHex("incarnation", facts.incarnation.value(), 8),
       Say("boot epoch", facts.boot_epoch.value()), Say("broker", facts.broker.value()),
       Say("stage", static_cast<uint64_t>(facts.stage)),
       Say("clean stop", facts.was_stopped_cleanly ? 1 : 0),
       Say("number of controllers", facts.controllers.size()),
       SayHex("controller's incarnation", facts.controllers[0].incarnation.value(), 8),
       Say("controller's broker", facts.controllers[0].broker.value()),
       Say("size of name", facts.cluster_name.size()), SayText("cluster name", facts.cluster_name),
       SayHex("journal key", facts.journal_key, 8),
       Say("incompatible features", facts.incompatible_features),
       Say("compatible features", facts.compatible_features),
       Say("cluster level", facts.cluster_level)});
}

Sayings SayingsOf(const journal::BlockHeader& header) {
  return {Say("flags", header.flags),
          SayHex("crc", header.crc, 4),
          SayHex("body crc", header.body_crc, 4),
          SayHex("journal key", header.key, 8),
          Say("file sequence", header.file_sequence),
          Say("oldest file", header.oldest_file),
          Say("LSN", header.lsn),
          Say("durable LSN", header.durable_lsn),
          Say("length", header.length),
          Say("record count", header.record_count),
          SayHex("previous crc", header.previous_crc, 4)};
}

Sayings SayingsOf(const std::string& name, const journal::RecordView& record) {
  return {Say(name + ": type", static_cast<uint64_t>(record.type)),
          Say(name + ": flags", record.flags), Say(name + ": group", record.group.value()),
          Say(name + ": payload size", record.payload.size())};
}

TEST_F(FormatsPage, HeadBlock_IsReadAsThePageSays) {
  const auto block = journal::ParseBlock(BytesOf("head block"));
  ASSERT_TRUE(block.has_value());
  ExpectSaid("head block", SayingsOf(block->header));
  const auto records = journal::ParseRecords(*block);
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), 1U);
  ExpectSaid("head block", SayingsOf("head", records->front()));
  const auto head = journal::ParseHead(records->front().payload);
  ASSERT_TRUE(head.ok()) << head.status();
  ExpectSaid("head block", {Say("head: file size", head->file_bytes),
                            Say("head: number of groups", head->group_count)});
}

TEST_F(FormatsPage, Block_IsReadAsThePageSays) {
  const auto block = journal::ParseBlock(BytesOf("block"));
  ASSERT_TRUE(block.has_value());
  ExpectSaid("block", SayingsOf(block->header));
  const auto records = journal::ParseRecords(*block);
  ASSERT_TRUE(records.ok()) << records.status();
  ASSERT_EQ(records->size(), 3U);
  ExpectSaid("block", SayingsOf("replica", (*records)[0]));
  ExpectSaid("block", SayingsOf("hard state", (*records)[1]));
  ExpectSaid("block", SayingsOf("entry", (*records)[2]));
  const auto replica = journal::ParseReplica(kGroup, (*records)[0].payload);
  ASSERT_TRUE(replica.ok()) << replica.status();
  const Voter voter = replica->configuration.voters.at(0);
  ExpectSaid("block", {Say("replica: topic", replica->partition.topic.value()),
                       Say("replica: partition", replica->partition.partition.value()),
                       Say("replica: voters", replica->configuration.voters.size()),
                       Say("replica: outgoing voters", replica->configuration.outgoing.size()),
                       Say("replica: learners", replica->configuration.learners.size()),
                       SayHex("replica: voter's incarnation", voter.incarnation.value(), 8),
                       Say("replica: voter's broker", voter.broker.value())});
  const auto state = journal::ParseHardState((*records)[1].payload);
  ASSERT_TRUE(state.ok()) << state.status();
  const Voter vote = state->hard_state.vote;
  ExpectSaid("block", {Say("hard state: term", state->hard_state.term.value()),
                       SayHex("hard state: vote's incarnation", vote.incarnation.value(), 8),
                       Say("hard state: vote's broker", vote.broker.value()),
                       Say("hard state: last index", state->last_index.value()),
                       Say("hard state: epoch", state->epoch.value()),
                       SayHex("hard state: last chain", state->last_chain, 4)});
  const auto epoch = journal::ParseEntryPrefix((*records)[2].payload);
  ASSERT_TRUE(epoch.ok()) << epoch.status();
  ExpectSaid("block", {Say("entry: truncation epoch", epoch->value())});
  EXPECT_EQ((*records)[2].payload.substr(journal::kEntryPrefixSize), BytesOf("frame"));
}

TEST_F(FormatsPage, ItsBlocks_AreAJournalThatReplayTakes) {
  std::string file = BytesOf("head block") + BytesOf("block");
  file.resize(kJournalFileBytes, '\0');
  const auto replayed =
      journal::Replay(kJournalKey, {{.name = "1.journal", .bytes = Bytes::Own(std::move(file))}});
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_TRUE(replayed->damage.empty());
  const journal::ReplayedGroup& group = replayed->groups.at(kGroup);
  EXPECT_EQ(group.doubt, "");
  EXPECT_EQ(group.ledger.hard_state.vote, kVoter);
  EXPECT_EQ(group.frames.at(LogIndex(1)).view(), BytesOf("frame"));
}

TEST_F(FormatsPage, Segment_IsReadAsThePageSays_AndRecovered) {
  const std::string& bytes = BytesOf("segment");
  EXPECT_TRUE(storage::CheckSegmentHeader(bytes, storage::SegmentRig::kFolder, {}).ok());
  const auto trailer = storage::ParseSegmentTrailer(bytes);
  ASSERT_TRUE(trailer.has_value());
  ExpectSaid("segment", {Say("raft group id", kGroup.value()), Say("first index", 1),
                         Say("replica number", storage::SegmentRig::kFolder.number.value()),
                         Say("footer size", trailer->footer_size),
                         SayHex("footer crc", trailer->footer_crc, 4),
                         Say("frames end", trailer->frames_end)});
  const size_t footer_at = bytes.size() - sizeof(storage::SegmentTrailer) - trailer->footer_size;
  const auto footer =
      storage::ParseSegmentFooter(std::string_view(bytes).substr(footer_at, trailer->footer_size),
                                  *trailer, footer_at, storage::SegmentRig::kFolder, LogIndex(1));
  ASSERT_TRUE(footer.ok()) << footer.status();
  const storage::LogPoint end{.index = LogIndex(footer->last_index()),
                              .term = Term(footer->last_term()),
                              .chain = footer->chain(),
                              .next_offset = Offset(footer->next_offset())};
  storage::SegmentRig rig(1);
  rig.disk.PutFile(storage::SegmentPath(storage::SegmentRig::kFolder, LogIndex(1)), bytes);
  rig.Restart(/*power=*/false);
  const auto recovered = rig.Recover(end);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  ASSERT_TRUE(recovered->snapshot.has_value());
  EXPECT_EQ(recovered->snapshot->state.view(), "snapshot");
  const auto entries = rig.Read(1, 1);
  ASSERT_TRUE(entries.ok()) << entries.status();
  EXPECT_EQ(entries->front().frame.view(), BytesOf("frame"));
}

}  // namespace
}  // namespace millrace::docs

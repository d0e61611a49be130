#include "client/cli/consume_command.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "client/cli/common_options.h"
#include "client/cli/connection.h"
#include "client/cli/consume_group.h"
#include "client/cli/number.h"
#include "client/cli/output.h"
#include "client/cli/record_lines.h"
#include "client/cli/time_spec.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {
namespace {

// How soon an interrupt is noticed.
constexpr std::chrono::milliseconds kPollTimeout{100};

struct ConsumeOptions {
  CommonOptions common;
  std::string topic;
  std::optional<uint32_t> partition;
  Position from = Position::Earliest();
  std::optional<Position> to;
  std::optional<uint64_t> count;
  bool until_end = false;
  std::string reset = "fail";
  std::string isolation = "committed";
  std::string group;
  std::string instance_id;
  RecordFormat format;

  // Whether the command ends by itself.
  bool has_end() const { return until_end || to || count; }
  // The offset below which nothing is wanted, of any partition.
  int64_t first_wanted() const { return from.kind() == Position::Kind::kOffset ? from.value() : 0; }
};

// Prints records until there are as many as wanted, or the end is reached; or until someone
// interrupts, which is an error unless it is the only end that there is.
Status Print(const ConsumeOptions& options, Consumer& consumer, RecordLines* writer) {
  uint64_t printed = 0;
  while (!consumer.at_end()) {
    if (IsInterrupted()) {
      if (!options.has_end()) return {};
      return Interrupted("only " + WithThousands(printed) + " records were printed");
    }
    // Who follows a topic for days wants to follow it through an outage, too.
    if (options.has_end() || options.common.has_timeout) RETURN_IF_ERROR(OutageOverTimeout());
    ASSIGN_OR_RETURN(const Records records, consumer.Poll(kPollTimeout));
    for (const ConsumedRecord& record : records) {
      if (record.offset < options.first_wanted()) continue;
      writer->Write(record);
      if (++printed == options.count) return {};
    }
    writer->Flush();
    RETURN_IF_ERROR(writer->status());
  }
  return {};
}

std::string TextOf(const Position& position) {
  return (position.kind() == Position::Kind::kTime ? "@" : "") + std::to_string(position.value());
}

// That nothing can be between the two, where that is seen without asking.
Status CheckRange(const ConsumeOptions& options) {
  const bool is_known = options.to && options.to->kind() == options.from.kind();
  if (!is_known || options.to->value() >= options.from.value()) return {};
  return InvalidArgument("--to " + TextOf(*options.to) + " is before --from " +
                         TextOf(options.from));
}

using OpenedConsumer = Result<std::unique_ptr<Consumer>>;

// From those partitions that are shorter nothing is read: that is not waited for.
OpenedConsumer OpenUntil(millrace::Client& client, const ConsumeOptions& options,
                         ConsumerOptions consumer_options, const std::vector<OffsetRange>& ranges) {
  const int64_t from = options.from.value();
  consumer_options.partitions.emplace();
  std::vector<std::pair<uint32_t, int64_t>> longer;
  for (const OffsetRange& range : ranges) {
    if (from >= range.start && from <= range.end) {
      consumer_options.partitions->push_back(range.partition);
    } else if (from < range.start) {
      longer.emplace_back(range.partition, range.start);
    }
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Consumer> consumer,
                   client.OpenConsumer(options.topic, consumer_options));
  for (const auto& [partition, offset] : longer) {
    RETURN_IF_ERROR(consumer->Assign(partition, Position::At(offset)));
  }
  return consumer;
}

// From those partitions that are shorter everything is read that they will have from there on, and
// from those that the topic gets, too.
OpenedConsumer OpenFollowing(millrace::Client& client, const ConsumeOptions& options,
                             ConsumerOptions consumer_options,
                             const std::vector<OffsetRange>& ranges) {
  consumer_options.start = Position::Latest();
  ASSIGN_OR_RETURN(std::unique_ptr<Consumer> consumer,
                   client.OpenConsumer(options.topic, consumer_options));
  for (const OffsetRange& range : ranges) {
    const int64_t offset = std::clamp(options.from.value(), range.start, range.end);
    RETURN_IF_ERROR(consumer->Seek(range.partition, Position::At(offset)));
  }
  // Those that came after the ranges were told.
  for (size_t i = ranges.size(); i < consumer->partition_count(); ++i) {
    RETURN_IF_ERROR(consumer->Seek(static_cast<uint32_t>(i), Position::Earliest()));
  }
  return consumer;
}

// An offset of all partitions is where it is in each.
OpenedConsumer OpenAllFrom(millrace::Client& client, const ConsumeOptions& options,
                           const ConsumerOptions& consumer_options) {
  ASSIGN_OR_RETURN(const std::vector<OffsetRange> ranges,
                   client.admin().ListOffsets(options.topic, {}, options.common.timeout,
                                              consumer_options.isolation));
  for (const OffsetRange& range : ranges) {
    RETURN_IF_ERROR(range.status.With("partition " + std::to_string(range.partition)));
  }
  const bool stops = options.until_end || options.to;
  return stops ? OpenUntil(client, options, consumer_options, ranges)
               : OpenFollowing(client, options, consumer_options, ranges);
}

OffsetReset ResetOf(const std::string& name) {
  if (name == "earliest") return OffsetReset::kEarliest;
  return name == "latest" ? OffsetReset::kLatest : OffsetReset::kFail;
}

Isolation IsolationOf(const std::string& name) {
  return name == "uncommitted" ? Isolation::kUncommitted : Isolation::kCommitted;
}

OpenedConsumer Open(millrace::Client& client, const ConsumeOptions& options) {
  ConsumerOptions consumer_options{.start = options.from,
                                   .auto_offset_reset = ResetOf(options.reset),
                                   .isolation = IsolationOf(options.isolation),
                                   .stop_at_end = options.until_end,
                                   .stop = options.to,
                                   .open_timeout = options.common.timeout};
  if (options.partition) {
    consumer_options.partitions = {*options.partition};
  } else if (options.from.kind() == Position::Kind::kOffset) {
    return OpenAllFrom(client, options, consumer_options);
  }
  return client.OpenConsumer(options.topic, consumer_options);
}

// What a group has no use for.
Status CheckGroup(const ConsumeOptions& options) {
  if (options.group.empty()) {
    return options.instance_id.empty() ? Status()
                                       : InvalidArgument("--instance-id is of a --group's member");
  }
  if (options.from.kind() != Position::Kind::kOffset) return {};
  return InvalidArgument("--from " + TextOf(options.from) +
                         " with --group: an offset is of one partition, `group reset` sets it");
}

int ConsumeWithOthers(const ConsumeOptions& options, const RecordFormat& format) {
  const GroupConsumption group{.topic = options.topic,
                               .group = options.group,
                               .instance_id = options.instance_id,
                               .from = options.from,
                               .reset = ResetOf(options.reset),
                               .isolation = IsolationOf(options.isolation),
                               .count = options.count,
                               .timeout = options.common.timeout,
                               .has_timeout = options.common.has_timeout};
  return RunOnTopic(options.common, options.topic, [&](millrace::Client& client) {
    RecordLines lines(format);
    return ConsumeInGroup(client, group, &lines);
  });
}

int Consume(const ConsumeOptions& options) {
  for (const Status& usage : {CheckRange(options), CheckGroup(options)}) {
    if (!usage.ok()) return FailUsage(usage);
  }
  RecordFormat format = options.format;
  format.output = options.common.output;
  if (!options.group.empty()) return ConsumeWithOthers(options, format);
  return RunOnTopic(options.common, options.topic, [&](millrace::Client& client) -> Status {
    ASSIGN_OR_RETURN(const std::unique_ptr<Consumer> consumer, Open(client, options));
    CatchSignals();
    RecordLines writer(format);
    const Status printed = Print(options, *consumer, &writer);
    writer.Flush();
    RETURN_IF_ERROR(printed);
    return writer.status();
  });
}

Status SetEnd(std::string_view text, std::optional<Position>* to) {
  ASSIGN_OR_RETURN(*to, ParsePosition(text, RealClock().WallMs()));
  if ((*to)->kind() != Position::Kind::kEarliest) return {};
  return InvalidArgument("nothing is before earliest");
}

}  // namespace

void AddConsumeCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  auto options = std::make_shared<ConsumeOptions>();
  options->common.bootstrap = bootstrap;
  CLI::App* consume = app.add_subcommand("consume", "Print records");
  AddTopic(consume, "TOPIC", &options->topic)->required();
  CLI::Option* partition = AddNumber(consume, "--partition", &options->partition,
                                     {.max = kPartitionMax}, "One partition; all if not given");
  CLI::Option* group = consume->add_option(
      "--group", options->group,
      "Read as a member of this group: its partitions alone, from where the group committed them "
      "(--from where it has not), and commit what was printed, each second and at the end");
  group->type_name("GROUP")->excludes(partition);
  consume
      ->add_option("--instance-id", options->instance_id,
                   "With --group: a static member, whose partitions wait for it when it ends")
      ->type_name("ID");
  AddParsed(
      consume, "--from",
      [from = &options->from](std::string_view text) -> Status {
        ASSIGN_OR_RETURN(*from, ParsePosition(text, RealClock().WallMs()));
        return {};
      },
      "earliest, latest, an offset, an RFC 3339 time, a date, so long ago (-1h), or @MILLISECONDS "
      "since 1970")
      ->type_name("POSITION")
      ->default_str("earliest");
  CLI::Option* end = AddParsed(
      consume, "--to", [to = &options->to](std::string_view text) { return SetEnd(text, to); },
      "Stop before this, one of the same, or at what was the end when the command began");
  end->type_name("POSITION")->excludes(group);
  consume
      ->add_option("--auto-offset-reset", options->reset,
                   "Where to go on if records went that were to be read: fail, earliest or latest")
      ->check(CLI::IsMember({"fail", "earliest", "latest"}))
      ->capture_default_str();
  consume
      ->add_option("--isolation", options->isolation,
                   "What is printed of transactions: committed, what was committed, and nothing "
                   "behind the first record of one that is open; uncommitted, all")
      ->check(CLI::IsMember({"committed", "uncommitted"}))
      ->capture_default_str();
  AddNumber(consume, "--count", &options->count, {.min = 1}, "Stop after so many records");
  consume
      ->add_flag("--until-end", options->until_end,
                 "Stop at what was the end when the command began, as --to latest")
      ->excludes(end)
      ->excludes(group);
  consume->add_option("--key-separator", options->format.key_separator,
                      "Between key and value with -o key-value; a tab if not given");
  consume
      ->add_option("--null", options->format.null_text,
                   "What stands for a key or a value that is null")
      ->type_name("TEXT")
      ->capture_default_str();
  AddCommonOptions(consume, {"value", "key-value", "json"}, &options->common);
  Choose(consume, options, chosen, &Consume);
}

}  // namespace millrace::client::cli

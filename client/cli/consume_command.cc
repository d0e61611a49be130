#include "client/cli/consume_command.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "client/cli/common_options.h"
#include "client/cli/connection.h"
#include "client/cli/output.h"
#include "client/cli/time_spec.h"

namespace millrace::client::cli {
namespace {

// How soon an interrupt is noticed.
constexpr std::chrono::milliseconds kPollTimeout{100};

struct ConsumeOptions {
  CommonOptions common;
  std::string topic;
  std::optional<uint32_t> partition;
  std::string from = "earliest";
  uint64_t count = 0;
  bool until_end = false;
  std::string key_separator = "\t";
};

// Collects lines and writes them to stdout together.
class LineWriter {
 public:
  explicit LineWriter(const ConsumeOptions& options) : options_(options) {}

  void Write(const ConsumedRecord& record) {
    if (options_.common.is_json()) {
      WriteJson(record);
    } else {
      if (options_.common.output == "key-value") {
        lines_ += record.key.value_or("");
        lines_ += options_.key_separator;
      }
      lines_ += record.value.value_or("");
    }
    lines_ += '\n';
    if (lines_.size() >= kFlushBytes) Flush();
  }

  void Flush() {
    const bool ok = std::fwrite(lines_.data(), 1, lines_.size(), stdout) == lines_.size() &&
                    std::fflush(stdout) == 0;
    lines_.clear();
    if (!ok && status_.ok()) status_ = Unavailable("cannot write to stdout");
  }
  // UNAVAILABLE once stdout took no more.
  const Status& status() const { return status_; }

 private:
  static constexpr size_t kFlushBytes = 64 << 10;

  void WriteJson(const ConsumedRecord& record) {
    Json json{{"partition", record.partition},
              {"offset", record.offset},
              {"timestamp_ms", record.timestamp_ms}};
    SetBytes(&json, "key", record.key);
    SetBytes(&json, "value", record.value);
    if (!record.headers.empty()) {
      Json& headers = json["headers"] = Json::array();
      for (const Header& header : record.headers) {
        Json row{{"key", std::string(header.key)}};
        SetBytes(&row, "value", header.value);
        headers.push_back(std::move(row));
      }
    }
    lines_ += json.dump();
  }

  const ConsumeOptions& options_;
  std::string lines_;
  Status status_;
};

// Prints records until the plan is fulfilled or someone interrupts.
Status Print(const ConsumeOptions& options, Consumer& consumer, LineWriter* writer) {
  uint64_t printed = 0;
  while (!IsInterrupted() && !consumer.at_end()) {
    ASSIGN_OR_RETURN(const Records records, consumer.Poll(kPollTimeout));
    for (const ConsumedRecord& record : records) {
      writer->Write(record);
      if (++printed == options.count) return {};
    }
    writer->Flush();
    RETURN_IF_ERROR(writer->status());
  }
  return {};
}

int Consume(const ConsumeOptions& options) {
  const Result<Position> start = ParsePosition(options.from);
  if (!start.ok()) {
    return Fail(InvalidArgument("--from " + std::string(start.status().message())));
  }
  CatchSignals();
  return RunConnected(options.common, [&](millrace::Client& client) -> Status {
    ConsumerOptions consumer_options{.start = *start,
                                     .stop_at_end = options.until_end,
                                     .open_timeout = options.common.timeout_ms()};
    if (options.partition) consumer_options.partitions = {*options.partition};
    ASSIGN_OR_RETURN(const std::unique_ptr<Consumer> consumer,
                     client.OpenConsumer(options.topic, consumer_options));
    LineWriter writer(options);
    const Status printed = Print(options, *consumer, &writer);
    writer.Flush();
    RETURN_IF_ERROR(printed);
    return writer.status();
  });
}

}  // namespace

void AddConsumeCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  auto options = std::make_shared<ConsumeOptions>();
  options->common.bootstrap = bootstrap;
  CLI::App* consume = app.add_subcommand("consume", "Print records");
  consume->add_option("TOPIC", options->topic, "The topic")->required();
  consume->add_option("--partition", options->partition, "One partition; all if not given");
  consume
      ->add_option("--from", options->from,
                   "earliest, latest, an offset, an RFC 3339 time, or @MILLISECONDS since 1970")
      ->capture_default_str();
  consume->add_option("--count", options->count, "Stop after so many records");
  consume->add_flag("--until-end", options->until_end,
                    "Stop at what was the end when the command began");
  consume->add_option("--key-separator", options->key_separator,
                      "Between key and value with -o key-value; a tab if not given");
  AddCommonOptions(consume, {"value", "key-value", "json"}, &options->common);
  Choose(consume, options, chosen, &Consume);
}

}  // namespace millrace::client::cli

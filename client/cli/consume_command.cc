#include "client/cli/consume_command.h"

#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "client/cli/common_options.h"
#include "client/cli/output.h"
#include "client/cli/reader.h"
#include "client/cli/session.h"

namespace millrace::client::cli {
namespace {

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

  void Write(const ReadRecord& read) {
    if (options_.common.is_json()) {
      WriteJson(read);
    } else {
      if (options_.common.output == "key-value") {
        lines_ += read.record.key.value_or("");
        lines_ += options_.key_separator;
      }
      lines_ += read.record.value.value_or("");
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

  void WriteJson(const ReadRecord& read) {
    Json json{{"partition", read.partition.value()},
              {"offset", read.offset.value()},
              {"timestamp_ms", read.timestamp_ms}};
    SetBytes(&json, "key", read.record.key);
    SetBytes(&json, "value", read.record.value);
    if (read.record.header_count > 0) {
      Json& headers = json["headers"] = Json::array();
      HeaderIterator iterator(read.record);
      HeaderView header;
      while (iterator.Next(&header)) {
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

int Consume(const ConsumeOptions& options) {
  const Result<StartAt> start = ParseStart(options.from);
  if (!start.ok()) return Fail(start.status());
  Session session(options.common);
  const Status ready = session.Init();
  if (!ready.ok()) return Fail(ready);
  LineWriter writer(options);
  Reader reader(
      session,
      {.topic = options.topic,
       .partition = options.partition,
       .start = *start,
       .count = options.count,
       .until_end = options.until_end,
       .timeout = options.common.timeout()},
      [&](const ReadRecord& read) { writer.Write(read); },
      [&] {
        writer.Flush();
        if (!writer.status().ok()) session.EndWith(writer.status());
      },
      [&](const Status& status) {
        if (!status.ok()) return session.EndWith(status);
        session.End(0);
      });
  return session.Run([&] { reader.Start(); }, [&] { reader.Stop(); });
}

}  // namespace

Result<StartAt> ParseStart(const std::string& text) {
  if (text == "earliest") return StartAt::Earliest();
  if (text == "latest") return StartAt::Latest();
  int64_t offset = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), offset);
  if (error != std::errc() || end != text.data() + text.size() || offset < 0) {
    return InvalidArgument("--from " + text + " is not earliest, latest or an offset");
  }
  return StartAt::At(Offset(offset));
}

void AddConsumeCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  auto options = std::make_shared<ConsumeOptions>();
  options->common.bootstrap = bootstrap;
  CLI::App* consume = app.add_subcommand("consume", "Print records");
  consume->add_option("TOPIC", options->topic, "The topic")->required();
  consume->add_option("--partition", options->partition, "One partition; all if not given");
  consume->add_option("--from", options->from, "earliest, latest or an offset")
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

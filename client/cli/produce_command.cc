#include "client/cli/produce_command.h"

#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "client/cli/acknowledged.h"
#include "client/cli/common_options.h"
#include "client/cli/line_source.h"
#include "client/cli/progress.h"
#include "client/cli/record_key.h"
#include "client/cli/session.h"
#include "client/cpp/producer_client.h"

namespace millrace::client::cli {
namespace {

// When stdin has nothing, it is asked again so much later.
constexpr Duration kInputInterval = std::chrono::milliseconds(5);
// Lines sent before the loop gets its turn.
constexpr int kLinesPerTurn = 1000;

struct ProduceOptions {
  CommonOptions common;
  std::string topic;
  std::string file;
  KeyRule key;
  std::optional<uint32_t> partition;
};

// Reads lines, sends them, and reports what became of them.
class Loader {
 public:
  Loader(Session& session, const ProduceOptions& options, LineSource lines)
      : session_(session),
        options_(options),
        lines_(std::move(lines)),
        progress_(options.topic, lines_.total_bytes()),
        producer_(session.client(), options.topic, {},
                  {.on_report = [this](const DeliveryReport& report) { OnReport(report); },

                   .on_room =
                       [this] {
                         if (!is_feed_planned_) Feed();
                       }}) {}

  void Start() {
    producer_.Open(options_.common.timeout(), [this](const Status& status) {
      if (!status.ok()) return session_.EndWith(status);
      Feed();
    });
  }

  // Sends no more, and ends once everything that was sent is answered.
  void Stop() {
    is_input_done_ = true;
    if (!is_flushing_) Flush();
  }

 private:
  void Feed() {
    for (int i = 0; i < kLinesPerTurn; ++i) {
      if (is_input_done_ || !producer_.has_room()) return;
      std::string_view line;
      switch (lines_.Next(&line)) {
        case LineSource::kLine: {
          ++line_number_;
          const Status sent = SendLine(line);
          if (!sent.ok()) return Abort(sent.With("line " + std::to_string(line_number_)));
          break;
        }
        case LineSource::kNothingYet:
          return FeedAfter(kInputInterval);
        case LineSource::kEnd:
          return Stop();
        case LineSource::kFailed:
          return Abort(lines_.error());
      }
    }
    FeedAfter(Duration(0));
  }

  void FeedAfter(Duration delay) {
    is_feed_planned_ = true;
    const auto feed = [this] {
      is_feed_planned_ = false;
      Feed();
    };
    if (delay == Duration(0)) {
      session_.loop().Post(feed);
    } else {
      session_.loop().RunAfter(delay, feed);
    }
  }

  Status SendLine(std::string_view line) {
    ASSIGN_OR_RETURN(const LineRecord record, ParseLine(line, options_.key));
    NewRecord fields;
    if (record.key) fields.key = *record.key;
    fields.value = record.value;
    fields.timestamp_ms = session_.clock().WallMs();
    std::optional<PartitionId> partition;
    if (options_.partition) partition = PartitionId(*options_.partition);
    return producer_.Send(fields, partition).status();
  }

  void OnReport(const DeliveryReport& report) {
    if (report.status.ok()) {
      acknowledged_.Add(report);
    } else if (first_error_.ok()) {
      first_error_ = report.status;
      is_input_done_ = true;
      session_.loop().Post([this] { Finish(); });
    }
    progress_.Update(lines_.bytes_read(), acknowledged_.records(), session_.clock().Now());
  }

  // The input is at fault: what was sent before is awaited, then the error stands.
  void Abort(const Status& error) {
    if (first_error_.ok()) first_error_ = error;
    Stop();
  }

  void Flush() {
    is_flushing_ = true;
    producer_.Flush([this] { Finish(); });
  }

  void Finish() {
    if (session_.has_ended()) return;
    progress_.Finish();
    if (options_.common.is_json()) {
      PrintJson(acknowledged_.ToJson(options_.topic));
    } else {
      std::printf("acknowledged %s records in %s\n", WithThousands(acknowledged_.records()).c_str(),
                  options_.topic.c_str());
      acknowledged_.ToTable().Print();
    }
    std::fflush(stdout);
    if (!first_error_.ok()) return session_.EndWith(first_error_);
    session_.End(0);
  }

  Session& session_;
  const ProduceOptions& options_;
  LineSource lines_;
  Progress progress_;
  ProducerClient producer_;
  Acknowledged acknowledged_;
  uint64_t line_number_ = 0;
  Status first_error_;
  bool is_feed_planned_ = false;
  bool is_input_done_ = false;
  bool is_flushing_ = false;
};

int Produce(const ProduceOptions& options) {
  Result<LineSource> lines = LineSource::Open(options.file);
  if (!lines.ok()) return Fail(lines.status());
  Session session(options.common);
  const Status ready = session.Init();
  if (!ready.ok()) return Fail(ready);
  Loader loader(session, options, std::move(lines).value());
  bool is_stopping = false;
  return session.Run([&] { loader.Start(); },
                     [&] {
                       if (!std::exchange(is_stopping, true)) loader.Stop();
                     });
}

}  // namespace

void AddProduceCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  auto options = std::make_shared<ProduceOptions>();
  options->common.bootstrap = bootstrap;
  CLI::App* produce = app.add_subcommand("produce", "Store records, one a line");
  produce->add_option("TOPIC", options->topic, "The topic")->required();
  produce->add_option("FILE", options->file, "Where the lines are; stdin if there is none");
  CLI::Option* separator =
      produce->add_option("--key-separator", options->key.separator, "A line is KEY, this, VALUE");
  produce
      ->add_option("--key-field", options->key.field,
                   "A line is a JSON object, and this field of it the key")
      ->excludes(separator);
  produce->add_option("--partition", options->partition, "Where all records go, whatever the key");
  AddCommonOptions(produce, {"table", "json"}, &options->common);
  Choose(produce, options, chosen, &Produce);
}

}  // namespace millrace::client::cli

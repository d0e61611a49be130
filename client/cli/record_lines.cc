#include "client/cli/record_lines.h"

#include "client/cli/output.h"

namespace millrace::client::cli {

void RecordLines::Write(const ConsumedRecord& record) {
  if (format_.output == "json") {
    WriteJson(record);
  } else {
    if (format_.output == "key-value") {
      lines_ += record.key.value_or(format_.null_text);
      lines_ += format_.key_separator;
    }
    lines_ += record.value.value_or(format_.null_text);
  }
  lines_ += '\n';
  if (lines_.size() >= kFlushBytes) Flush();
}

void RecordLines::Flush() {
  Status written = WriteToStdout(lines_);
  lines_.clear();
  if (status_.ok()) status_ = std::move(written);
}

void RecordLines::WriteJson(const ConsumedRecord& record) {
  Json json{{"partition", record.partition},
            {"offset", record.offset},
            {"timestamp_ms", record.timestamp_ms},
            {"append_time_ms", record.append_time_ms}};
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

}  // namespace millrace::client::cli

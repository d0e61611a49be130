#include "raft/net/complaints.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace millrace::raft::net {
namespace {

constexpr std::string_view kOthers = "others";
constexpr size_t kPrintableBytesMax = 200;

}  // namespace

bool Complaints::Note(std::string_view source, std::string_view what) {
  auto found = sources_.find(source);
  if (found == sources_.end() && sources_.size() >= kSourcesMax) found = sources_.find(kOthers);
  if (found != sources_.end()) {
    ++found->second.count;
    found->second.last = what;
    return false;
  }
  const std::string_view name = sources_.size() < kSourcesMax ? source : kOthers;
  sources_.emplace(name, Source{.since = clock_->Now(), .count = 0, .last = {}});
  ++line_count_;
  return true;
}

void Complaints::Sweep() {
  const MonotonicTime now = clock_->Now();
  for (auto at = sources_.begin(); at != sources_.end();) {
    Source& source = at->second;
    if (now - source.since < kInterval) {
      ++at;
    } else if (source.count == 0) {
      at = sources_.erase(at);
    } else {
      LOG(WARNING) << "more of the same within a minute from=" << at->first
                   << " count=" << std::exchange(source.count, 0) << " last=" << source.last;
      ++line_count_;
      source.since = now;
      ++at;
    }
  }
}

std::string Printable(std::string_view text) {
  std::string out(text.substr(0, kPrintableBytesMax));
  std::replace_if(out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

}  // namespace millrace::raft::net

#include "client/core/range_survey.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace millrace::client {
namespace {

// Topics that are asked at the same time: there may be thousands.
constexpr size_t kTopicsAtOnce = 8;

class RangeSurvey : public std::enable_shared_from_this<RangeSurvey> {
 public:
  RangeSurvey(Client& client, PartitionsByTopic topics, Duration timeout,
              MoveFunction<void(RangesByTopic)> done)
      : client_(client),
        topics_(std::move(topics)),
        deadline_(client.clock().Now() + timeout),
        done_(std::move(done)),
        next_(topics_.begin()) {}

  void Start() {
    if (topics_.empty()) return done_({});
    const size_t first_ones = std::min(topics_.size(), kTopicsAtOnce);
    for (size_t i = 0; i < first_ones; ++i) AskNext();
  }

 private:
  void AskNext() {
    if (next_ == topics_.end()) return;
    const auto& [id, partitions] = *next_++;
    v1::ListOffsetsRequest request;
    request.set_topic_id(id);
    request.mutable_partitions()->Assign(partitions.begin(), partitions.end());
    client_.ListAllOffsets(
        request, TimeLeft(client_.clock(), deadline_),
        [self = shared_from_this(), topic_id = id](Result<v1::ListOffsetsResponse> ranges) {
          self->Take(topic_id, std::move(ranges));
        });
  }

  void Take(uint64_t id, Result<v1::ListOffsetsResponse> ranges) {
    found_.emplace(id, std::move(ranges));
    if (found_.size() == topics_.size()) return done_(std::move(found_));
    AskNext();
  }

  Client& client_;
  const PartitionsByTopic topics_;
  const MonotonicTime deadline_;
  MoveFunction<void(RangesByTopic)> done_;
  PartitionsByTopic::const_iterator next_;
  RangesByTopic found_;
};

}  // namespace

void SurveyRanges(Client& client, PartitionsByTopic topics, Duration timeout,
                  MoveFunction<void(RangesByTopic)> done) {
  std::make_shared<RangeSurvey>(client, std::move(topics), timeout, std::move(done))->Start();
}

}  // namespace millrace::client

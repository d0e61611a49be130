#include "client/core/groups.h"

#include <algorithm>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

#include "client/core/calls.h"
#include "client/core/error.h"
#include "client/core/retry.h"

namespace millrace::client {
namespace {

using CallKind = Client::CallKind;

// How soon what may heal is asked for again.
constexpr Duration kRetry = std::chrono::milliseconds(50);
// A transaction ends in its own time.
constexpr Duration kUnstableRetry = std::chrono::milliseconds(100);

bool HasAnyInTransaction(const v1::FetchOffsetsResponse& fetched) {
  return std::ranges::any_of(fetched.topics(), [](const v1::TopicOffsets& topic) {
    return std::ranges::any_of(topic.partitions(),
                               [](const auto& one) { return one.is_in_transaction(); });
  });
}

bool MayHealSoon(const v1::Error& error) {
  return MayHeal(FromError(error), Duration(0), Duration(0));
}

// Each page has the total.
void AddLagPage(const v1::DescribeLagResponse& page, v1::DescribeLagResponse* all) {
  all->clear_total();
  all->MergeFrom(page);
}

// A topic may begin on one page and go on on the next.
v1::FetchOffsetsResponse WithTopicsOnce(const v1::FetchOffsetsResponse& pages) {
  v1::FetchOffsetsResponse merged;
  for (const v1::TopicOffsets& topic : pages.topics()) {
    const bool goes_on =
        !merged.topics().empty() && merged.topics().rbegin()->topic_id() == topic.topic_id();
    if (goes_on) {
      merged.mutable_topics()->rbegin()->mutable_partitions()->MergeFrom(topic.partitions());
    } else {
      *merged.add_topics() = topic;
    }
  }
  return merged;
}

// A commit that goes on with what was refused, as long as that may heal.
class Commit : public std::enable_shared_from_this<Commit> {
 public:
  Commit(Client& client, v1::CommitOffsetsRequest request, Duration timeout,
         ResponseDone<v1::CommitOffsetsResponse> done)
      : client_(client),
        request_(std::move(request)),
        deadline_(client.clock().Now() + timeout),
        done_(std::move(done)) {}

  void Ask() {
    Invoke<v1::CommitOffsetsResponse>(
        client_, {"/millrace.v1.GroupService/CommitOffsets"}, request_,
        TimeLeft(client_.clock(), deadline_),
        [self = shared_from_this()](const Result<v1::CommitOffsetsResponse>& answer) {
          self->OnAnswer(answer);
        });
  }

 private:
  using Name = std::tuple<std::string, uint64_t, uint32_t>;  // topic, topic_id, partition

  void OnAnswer(const Result<v1::CommitOffsetsResponse>& answer) {
    if (!answer.ok()) return Fail(answer.status());
    pending_.Clear();
    std::set<Name> names;
    for (const v1::RefusedOffset& refused : answer->refused()) {
      const bool may_heal = MayHealSoon(refused.error());
      *(may_heal ? pending_ : refused_).add_refused() = refused;
      if (may_heal) names.emplace(refused.topic(), refused.topic_id(), refused.partition());
    }
    if (names.empty() || TimeLeft(client_.clock(), deadline_) <= kRetry) return Finish();
    Leave(names);
    client_.RunAfter(kRetry, [self = shared_from_this()] { self->Ask(); });
  }

  // Once some were taken, the others' own errors say more than the last call's.
  void Fail(const Status& status) {
    if (pending_.refused().empty()) return done_(status);
    Finish();
  }

  void Finish() {
    refused_.MergeFrom(pending_);
    done_(std::move(refused_));
  }

  // Takes all but these out of the request. A refusal may name the id that the topic was found by.
  void Leave(const std::set<Name>& names) {
    auto& topics = *request_.mutable_topics();
    for (v1::TopicCommit& topic : topics) {
      auto& partitions = *topic.mutable_partitions();
      const auto is_done = [&](const v1::PartitionCommit& commit) {
        return std::none_of(names.begin(), names.end(), [&](const Name& name) {
          const auto& [named_topic, id, partition] = name;
          return partition == commit.partition() && named_topic == topic.topic() &&
                 (!named_topic.empty() || id == topic.topic_id());
        });
      };
      partitions.erase(std::remove_if(partitions.begin(), partitions.end(), is_done),
                       partitions.end());
    }
    topics.erase(
        std::remove_if(topics.begin(), topics.end(),
                       [](const v1::TopicCommit& topic) { return topic.partitions().empty(); }),
        topics.end());
  }

  Client& client_;
  v1::CommitOffsetsRequest request_;
  const MonotonicTime deadline_;
  ResponseDone<v1::CommitOffsetsResponse> done_;
  v1::CommitOffsetsResponse refused_;  // for good
  v1::CommitOffsetsResponse pending_;  // by the last answer
};

// A reset that changes nothing twice.
class Reset : public std::enable_shared_from_this<Reset> {
 public:
  Reset(Client& client, v1::ResetOffsetsRequest request, Duration timeout,
        ResponseDone<v1::ResetOffsetsResponse> done)
      : client_(client),
        request_(std::move(request)),
        deadline_(client.clock().Now() + timeout),
        done_(std::move(done)),
        is_shift_(request_.has_shift_by() && !request_.is_dry_run()) {
    if (is_shift_) request_.set_is_dry_run(true);
  }

  void Ask() {
    Invoke<v1::ResetOffsetsResponse>(
        client_, {"/millrace.v1.GroupService/ResetOffsets", CallKind::kChange}, request_,
        TimeLeft(client_.clock(), deadline_),
        [self = shared_from_this()](Result<v1::ResetOffsetsResponse> answer) {
          self->OnAnswer(std::move(answer));
        });
  }

 private:
  void OnAnswer(Result<v1::ResetOffsetsResponse> answer) {
    if (!answer.ok()) return done_(std::move(answer));
    const auto& rows = answer->offsets();
    const auto has_error = [](const v1::ResetOffset& row) { return row.has_error(); };
    const bool has_errors = std::any_of(rows.begin(), rows.end(), has_error);
    const bool may_heal = std::all_of(rows.begin(), rows.end(), [](const v1::ResetOffset& row) {
      return !row.has_error() || MayHealSoon(row.error());
    });
    if (has_errors && may_heal && TimeLeft(client_.clock(), deadline_) > kRetry) {
      return client_.RunAfter(kRetry, [self = shared_from_this()] { self->Ask(); });
    }
    if (is_shift_ && !is_planned_ && !has_errors && !rows.empty()) return Carry(*answer);
    if (is_planned_) TellBefore(&*answer);
    done_(std::move(answer));
  }

  // Asks for what the dry run came to.
  void Carry(const v1::ResetOffsetsResponse& plan) {
    is_planned_ = true;
    request_.clear_topics();
    request_.set_is_dry_run(false);
    auto& topics = *request_.mutable_offsets()->mutable_topics();
    for (const v1::ResetOffset& row : plan.offsets()) {
      if (row.has_before()) before_[{row.topic_id(), row.partition()}] = row.before();
      if (topics.empty() || topics.rbegin()->topic_id() != row.topic_id()) {
        topics.Add()->set_topic_id(row.topic_id());
      }
      v1::PartitionCommit& commit = *topics.rbegin()->add_partitions();
      commit.set_partition(row.partition());
      commit.set_offset(row.after());
    }
    Ask();
  }

  // What was committed before the first try, not before the last.
  void TellBefore(v1::ResetOffsetsResponse* answer) const {
    for (v1::ResetOffset& row : *answer->mutable_offsets()) {
      const auto found = before_.find({row.topic_id(), row.partition()});
      if (found != before_.end()) row.set_before(found->second);
    }
  }

  Client& client_;
  v1::ResetOffsetsRequest request_;
  const MonotonicTime deadline_;
  ResponseDone<v1::ResetOffsetsResponse> done_;
  const bool is_shift_;
  bool is_planned_ = false;
  std::map<std::pair<uint64_t, uint32_t>, int64_t> before_;  // by topic_id and partition
};

}  // namespace

void ListGroups(Client& client, const std::string& prefix, Duration timeout,
                ResponseDone<v1::ListGroupsResponse> done) {
  v1::ListGroupsRequest request;
  request.set_prefix(prefix);
  InvokePages<v1::ListGroupsResponse>(client, "/millrace.v1.GroupService/ListGroups", request,
                                      timeout, std::move(done));
}

void DescribeGroup(Client& client, const v1::DescribeGroupRequest& request, Duration timeout,
                   ResponseDone<v1::DescribeGroupResponse> done) {
  Invoke<v1::DescribeGroupResponse>(client, {"/millrace.v1.GroupService/DescribeGroup"}, request,
                                    timeout, std::move(done));
}

void DescribeLag(Client& client, const v1::DescribeLagRequest& request, Duration timeout,
                 ResponseDone<v1::DescribeLagResponse> done) {
  InvokePages<v1::DescribeLagResponse>(client, "/millrace.v1.GroupService/DescribeLag", request,
                                       timeout, std::move(done), &AddLagPage);
}

void DeleteGroup(Client& client, const v1::DeleteGroupRequest& request, Duration timeout,
                 ResponseDone<v1::DeleteGroupResponse> done) {
  Invoke<v1::DeleteGroupResponse>(client,
                                  {"/millrace.v1.GroupService/DeleteGroup", CallKind::kChange},
                                  request, timeout, std::move(done));
}

void DeleteOffsets(Client& client, const v1::DeleteOffsetsRequest& request, Duration timeout,
                   ResponseDone<v1::DeleteOffsetsResponse> done) {
  Invoke<v1::DeleteOffsetsResponse>(client,
                                    {"/millrace.v1.GroupService/DeleteOffsets", CallKind::kChange},
                                    request, timeout, std::move(done));
}

void CommitOffsets(Client& client, const v1::CommitOffsetsRequest& request, Duration timeout,
                   ResponseDone<v1::CommitOffsetsResponse> done) {
  std::make_shared<Commit>(client, request, timeout, std::move(done))->Ask();
}

void FetchOffsets(Client& client, const v1::FetchOffsetsRequest& request, Duration timeout,
                  ResponseDone<v1::FetchOffsetsResponse> done) {
  InvokePages<v1::FetchOffsetsResponse>(
      client, "/millrace.v1.GroupService/FetchOffsets", request, timeout,
      [done = std::move(done)](Result<v1::FetchOffsetsResponse> fetched) mutable {
        if (!fetched.ok()) return done(std::move(fetched));
        done(WithTopicsOnce(*fetched));
      });
}

void FetchStableOffsets(Client& client, const v1::FetchOffsetsRequest& request, Duration timeout,
                        ResponseDone<v1::FetchOffsetsResponse> done) {
  const MonotonicTime deadline = client.clock().Now() + timeout;
  FetchOffsets(
      client, request, timeout,
      [&client, request, deadline,
       done = std::move(done)](Result<v1::FetchOffsetsResponse> fetched) mutable {
        if (!fetched.ok() || !HasAnyInTransaction(*fetched)) {
          return done(std::move(fetched));
        }
        const Duration left = TimeLeft(client.clock(), deadline);
        if (left <= kUnstableRetry) {
          return done(DeadlineExceeded("a transaction that is open has offsets of group \"" +
                                       request.group() + "\""));
        }
        client.RunAfter(kUnstableRetry, [&client, request, deadline,
                                         done = std::move(done)]() mutable {
          FetchStableOffsets(client, request, TimeLeft(client.clock(), deadline), std::move(done));
        });
      });
}

void ResetOffsets(Client& client, const v1::ResetOffsetsRequest& request, Duration timeout,
                  ResponseDone<v1::ResetOffsetsResponse> done) {
  std::make_shared<Reset>(client, request, timeout, std::move(done))->Ask();
}

void SurveyOffsets(Client& client, const v1::FetchOffsetsRequest& request, Duration timeout,
                   ResponseDone<OffsetsSurvey> done) {
  const MonotonicTime deadline = client.clock().Now() + timeout;
  FetchOffsets(client, request, timeout,
               [&client, deadline,
                done = std::move(done)](Result<v1::FetchOffsetsResponse> committed) mutable {
                 if (!committed.ok()) return done(committed.status());
                 PartitionsByTopic topics;
                 for (const v1::TopicOffsets& topic : committed->topics()) {
                   topics[topic.topic_id()];
                 }
                 SurveyRanges(client, std::move(topics), TimeLeft(client.clock(), deadline),
                              [committed = *std::move(committed),
                               done = std::move(done)](RangesByTopic ranges) mutable {
                                done(OffsetsSurvey{.committed = std::move(committed),
                                                   .ranges = std::move(ranges)});
                              });
               });
}

}  // namespace millrace::client

#include "broker/routing/unread_client.h"

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include <glog/logging.h>

#include "broker/routing/attached_bytes.h"
#include "broker/routing/gathering.h"
#include "millrace/internal/v1/forward.pb.h"

namespace millrace::broker {
namespace {

namespace wire = ::millrace::internal::v1;

std::vector<Bytes> Encode(const std::vector<UnreadQuestion>& questions) {
  wire::UnreadRequest request;
  for (const UnreadQuestion& question : questions) {
    wire::UnreadQuestion& one = *request.add_partitions();
    one.set_group_id(question.group.value());
    one.set_next_offset(question.next.value());
  }
  return AttachBytes(request);
}

std::vector<Bytes> Encode(const UnreadAnswers& answers) {
  wire::UnreadReply reply;
  for (const Result<Unread>& answer : answers) {
    wire::UnreadAnswer& one = *reply.add_partitions();
    if (!answer.ok()) {
      ToForwardStatus(answer.status(), one.mutable_error());
      continue;
    }
    one.set_log_start_offset(answer->log_start.value());
    one.set_high_watermark(answer->high_watermark.value());
    one.set_waited_ms_min(answer->waited_ms_min);
    one.set_waited_ms_max(answer->waited_ms_max);
  }
  return AttachBytes(reply);
}

Result<Unread> Decode(const wire::UnreadAnswer& answer) {
  if (answer.has_error()) return FromForwardStatus(answer.error());
  const bool is_possible =
      answer.log_start_offset() >= 0 && answer.log_start_offset() <= answer.high_watermark() &&
      answer.waited_ms_min() >= 0 && answer.waited_ms_min() <= answer.waited_ms_max();
  if (!is_possible) return Internal("a partition's leader told of offsets or times that cannot be");
  return Unread{.log_start = Offset(answer.log_start_offset()),
                .high_watermark = Offset(answer.high_watermark()),
                .waited_ms_min = answer.waited_ms_min(),
                .waited_ms_max = answer.waited_ms_max()};
}

using Answers = Gathering<Result<Unread>>;

// Of the questions at these places.
void TakeReply(const std::vector<size_t>& places, const Result<Bytes>& body, Answers* answers) {
  const Result<wire::UnreadReply> reply = MessageIn<wire::UnreadReply>(body);
  const bool is_whole =
      reply.ok() && static_cast<size_t>(reply->partitions_size()) == places.size();
  for (size_t i = 0; i < places.size(); ++i) {
    if (is_whole) {
      answers->Take(places[i], Decode(reply->partitions(static_cast<int>(i))));
    } else {
      answers->Take(places[i], reply.ok() ? Internal("a partition's leader answered something else")
                                          : reply.status());
    }
  }
}

}  // namespace

UnreadClient::UnreadClient(Environment environment) : environment_(std::move(environment)) {
  environment_.forwarder.Serve(kForwardUnread,
                               [this](const ForwardedRequest& forwarded, ForwardReplied done) {
                                 Serve(forwarded, std::move(done));
                               });
}

Result<Partition*> UnreadClient::FindLed(RaftGroupId group) const {
  Partition* partition = environment_.find_replica(group);
  const bool is_led = partition != nullptr && partition->leadership().is_ready;
  if (!is_led) return environment_.view.NotLeader(group);
  return partition;
}

void UnreadClient::AnswerHere(const UnreadQuestion& question,
                              MoveFunction<void(Result<Unread>)> done) const {
  const Result<Partition*> led = FindLed(question.group);
  if (!led.ok()) return done(led.status());
  Unread unread{.log_start = (*led)->log_start(), .high_watermark = (*led)->high_watermark()};
  const Offset first = std::max(question.next, unread.log_start);
  if (first >= unread.high_watermark) return done(unread);
  (*led)->FindAppendTime(first, [this, life = lifetime_.watch(), unread, done = std::move(done)](
                                    const Result<raft::AppendTime>& time) mutable {
    if (!life) return;
    if (!time.ok()) return done(time.status());
    const int64_t now_ms = environment_.clock.WallMs();
    unread.waited_ms_min = std::max<int64_t>(0, now_ms - time->max_ms);
    unread.waited_ms_max = std::max(unread.waited_ms_min, now_ms - time->min_ms);
    done(unread);
  });
}

void UnreadClient::Ask(const std::vector<UnreadQuestion>& questions, UnreadDone done) {
  struct Batch {
    std::vector<UnreadQuestion> questions;
    std::vector<size_t> places;
  };
  auto gathering = std::make_shared<Answers>(
      UnreadAnswers(questions.size(), Unavailable("nobody answered")), std::move(done));
  std::map<BrokerId, std::vector<Batch>> others;
  for (size_t place = 0; place < questions.size(); ++place) {
    const UnreadQuestion& question = questions[place];
    const BrokerId leader = environment_.view.LeaderOf(question.group).leader;
    if (leader == BrokerId() || leader == environment_.self) {
      AnswerHere(question, [gathering, place](Result<Unread> answer) {
        gathering->Take(place, std::move(answer));
      });
      continue;
    }
    std::vector<Batch>& batches = others[leader];
    const bool is_full = batches.empty() || batches.back().questions.size() == kQuestionsMax;
    if (is_full) batches.emplace_back();
    batches.back().questions.push_back(question);
    batches.back().places.push_back(place);
  }
  for (auto& [leader, batches] : others) {
    for (Batch& batch : batches) {
      environment_.forwarder.Forward(
          {.to = leader,
           .method = kForwardUnread,
           .body = Encode(batch.questions),
           .timeout = kTimeout},
          [gathering, places = std::move(batch.places)](const Result<Bytes>& body) {
            TakeReply(places, body, gathering.get());
          });
    }
  }
  gathering->Release();
}

void UnreadClient::Serve(const ForwardedRequest& forwarded, ForwardReplied done) {
  const Result<wire::UnreadRequest> request = MessageIn<wire::UnreadRequest>(forwarded.body);
  if (!request.ok()) return done(request.status());
  const auto count = static_cast<size_t>(request->partitions_size());
  if (count > kQuestionsMax) return done(InvalidArgument("too many partitions are asked for"));
  auto gathering = std::make_shared<Answers>(
      UnreadAnswers(count, Unavailable("nobody answered")),
      [done = std::move(done)](const UnreadAnswers& answers) mutable { done(Encode(answers)); });
  for (size_t place = 0; place < count; ++place) {
    const wire::UnreadQuestion& one = request->partitions(static_cast<int>(place));
    AnswerHere(
        {.group = RaftGroupId(one.group_id()), .next = Offset(one.next_offset())},
        [gathering, place](Result<Unread> answer) { gathering->Take(place, std::move(answer)); });
  }
  gathering->Release();
}

}  // namespace millrace::broker

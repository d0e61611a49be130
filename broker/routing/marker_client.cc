#include "broker/routing/marker_client.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "broker/routing/attached_bytes.h"
#include "broker/routing/gathering.h"
#include "proto/base/coverage.h"

namespace millrace::broker {
namespace {

namespace wire = ::millrace::internal::v1;

constexpr ForwardMethod kForwardEndings{"end_transactions", WorkClass::kCoordination};

}  // namespace

MarkerClient::MarkerClient(Environment environment) : environment_(std::move(environment)) {
  environment_.forwarder.Serve(kForwardEndings,
                               [this](const ForwardedRequest& forwarded, ForwardReplied done) {
                                 Serve(forwarded, std::move(done));
                               });
}

void MarkerClient::Send(RaftGroupId shard, std::vector<Marker> markers) {
  std::vector<Marker>& given = given_[shard];
  std::move(markers.begin(), markers.end(), std::back_inserter(given));
  PostTelling();
}

void MarkerClient::Wake(RaftGroupId shard) {
  woken_.insert(shard);
  PostTelling();
}

void MarkerClient::PostTelling() {
  if (std::exchange(is_posted_, true)) return;
  environment_.executor.Post(lifetime_.Guard([this] {
    is_posted_ = false;
    TellAll();
  }));
}

void MarkerClient::TellAll() {
  for (const auto& [shard, markers] : std::exchange(given_, {})) {
    ByLeader endings;
    Add(markers, &endings);
    Tell(shard, std::move(endings));
  }
  for (const RaftGroupId shard : std::exchange(woken_, {})) {
    ByLeader endings;
    Cursor cursor{};
    while (true) {
      const std::vector<Marker> markers = environment_.markers(shard, kEndingsMax, &cursor);
      if (markers.empty()) break;
      Add(markers, &endings);
    }
    Tell(shard, std::move(endings));
  }
}

void MarkerClient::Add(const std::vector<Marker>& markers, ByLeader* out) {
  for (const Marker& marker : markers) {
    const bool is_committed = marker.outcome == wire::TRANSACTION_OUTCOME_COMMITTED;
    for (const RaftGroupId participant : marker.participants) {
      if (!telling_.insert({participant, marker.name}).second) continue;
      (*out)[environment_.view.LeaderOf(participant).leader].push_back(
          {.participant = participant,
           .end = {.name = marker.name, .is_committed = is_committed, .reason = marker.reason},
           .transactional_id = marker.transactional_id});
    }
  }
}

void MarkerClient::Tell(RaftGroupId shard, ByLeader endings) {
  for (auto& [leader, its] : endings) Tell(shard, leader, std::move(its));
}

// A thousand at a time, side by side.
void MarkerClient::Tell(RaftGroupId shard, BrokerId leader, Endings endings) {
  for (size_t begin = 0; begin < endings.size(); begin += kEndingsMax) {
    const size_t end = std::min(begin + kEndingsMax, endings.size());
    auto part = std::make_shared<const Endings>(
        std::make_move_iterator(endings.begin() + static_cast<ptrdiff_t>(begin)),
        std::make_move_iterator(endings.begin() + static_cast<ptrdiff_t>(end)));
    if (leader == BrokerId() || leader == environment_.self) {
      TellHere(shard, *part);
      continue;
    }
    wire::TransactionEndings request;
    for (const Ending& ending : *part) {
      wire::TransactionEnding& out = *request.add_endings();
      out.set_group_id(ending.participant.value());
      Fill(ending.end.name, out.mutable_transaction());
      out.set_is_committed(ending.end.is_committed);
      out.set_reason(ending.end.reason);
    }
    environment_.forwarder.Forward(
        {.to = leader,
         .method = kForwardEndings,
         .body = AttachBytes(request),
         .timeout = kTimeout,
         .principal = {}},
        lifetime_.Guard([this, shard, part](const Result<Bytes>& body) {
          const auto reply = MessageIn<wire::TransactionEndingsReply>(body);
          std::vector<Status> answers(part->size(), reply.status());
          const bool is_whole =
              reply.ok() && static_cast<size_t>(reply->answers_size()) == part->size();
          for (size_t i = 0; i < part->size(); ++i) {
            answers[i] = !reply.ok() ? reply.status()
                         : is_whole  ? FromForwardStatus(reply->answers(static_cast<int>(i)))
                                     : Internal("a leader answered something else");
          }
          OnTold(shard, *part, answers);
        }));
  }
}

void MarkerClient::TellHere(RaftGroupId shard, Endings endings) {
  auto told = std::make_shared<const Endings>(std::move(endings));
  EndHere(*told, lifetime_.Guard([this, shard, told](const std::vector<Status>& answers) {
    OnTold(shard, *told, answers);
  }));
}

// Its topic was deleted: nobody waits for how it ended.
bool MarkerClient::IsGone(RaftGroupId participant) const {
  return environment_.view.image().FindTopicOf(participant) == nullptr &&
         environment_.view.CheckKnowsTopics().ok();
}

void MarkerClient::OnTold(RaftGroupId shard, const Endings& endings,
                          const std::vector<Status>& answers) {
  wire::ParticipantsEndedRequest ended;
  std::map<TransactionName, wire::ParticipantsEnded*> by_name;
  auto keys = std::make_shared<std::vector<Key>>();
  for (size_t i = 0; i < endings.size(); ++i) {
    const Ending& ending = endings[i];
    const Key key{ending.participant, ending.end.name};
    if (!answers[i].ok() && !IsGone(ending.participant)) {
      MILLRACE_SOMETIMES("a marker was sent again");
      telling_.erase(key);
      TellAgainLater(shard);
      continue;
    }
    wire::ParticipantsEnded*& of = by_name[ending.end.name];
    if (of == nullptr) {
      of = ended.add_ended();
      of->set_transactional_id(ending.transactional_id);
      Fill(ending.end.name, of->mutable_name());
    }
    of->add_participants(ending.participant.value());
    keys->push_back(key);
  }
  if (keys->empty()) return;
  // Whatever becomes of it: if it is not taken they are told once more, which changes nothing.
  environment_.ended(shard, std::move(ended),
                     lifetime_.Guard([this, shard, keys](const Status& taken) {
                       for (const Key& key : *keys) telling_.erase(key);
                       if (!taken.ok()) TellAgainLater(shard);
                     }));
}

void MarkerClient::TellAgainLater(RaftGroupId shard) {
  const bool is_waiting = !again_.empty();
  again_.insert(shard);
  if (is_waiting) return;
  const auto again = lifetime_.Guard([this] {
    environment_.executor.Cancel(timer_);
    environment_.view.ForgetLeadersListener(listener_);
    for (const RaftGroupId waiting : std::exchange(again_, {})) Wake(waiting);
  });
  timer_ = environment_.executor.RunAfter(kRetryInterval, again);
  listener_ = environment_.view.OnceLeadersChanged(again);
}

void MarkerClient::EndHere(const Endings& endings,
                           MoveFunction<void(std::vector<Status>)> done) const {
  auto gathering =
      std::make_shared<Gathering<Status>>(std::vector<Status>(endings.size()), std::move(done));
  for (size_t place = 0; place < endings.size(); ++place) {
    const Ending& ending = endings[place];
    environment_.end(ending.participant, ending.end, [gathering, place](Status ended) {
      gathering->Take(place, std::move(ended));
    });
  }
  gathering->Release();
}

void MarkerClient::Serve(const ForwardedRequest& forwarded, ForwardReplied done) {
  const auto request = MessageIn<wire::TransactionEndings>(forwarded.body);
  if (!request.ok()) return done(request.status());
  Endings endings;
  for (const wire::TransactionEnding& ending : request->endings()) {
    endings.push_back({.participant = RaftGroupId(ending.group_id()),
                       .end = {.name = NameFrom(ending.transaction()),
                               .is_committed = ending.is_committed(),
                               .reason = ending.reason()},
                       .transactional_id = {}});
  }
  EndHere(endings, [done = std::move(done)](const std::vector<Status>& answers) mutable {
    wire::TransactionEndingsReply reply;
    for (const Status& answer : answers) ToForwardStatus(answer, reply.add_answers());
    done(AttachBytes(reply));
  });
}

}  // namespace millrace::broker

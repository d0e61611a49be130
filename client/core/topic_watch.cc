#include "client/core/topic_watch.h"

#include <utility>

#include <glog/logging.h>

namespace millrace::client {

TopicWatch::TopicWatch(Client& client, std::string name, Duration grace, Listener listener)
    : client_(client), name_(std::move(name)), grace_(grace), listener_(std::move(listener)) {}

TopicWatch::~TopicWatch() { client_.Unwatch(watch_); }

void TopicWatch::Find(Duration timeout, MoveFunction<void(Status)> done) {
  client_.OpenTopic(name_, timeout,
                    lifetime_.Guard([this, done = std::move(done)](Status status) mutable {
                      if (!status.ok()) return done(std::move(status));
                      const TopicDetails* found = client_.metadata().FindTopic(name_);
                      CHECK(found != nullptr) << name_;
                      id_ = found->id;
                      partition_count_ = found->partition_count;
                      done(Status::Ok());
                    }));
}

void TopicWatch::Follow() {
  CHECK(id_ != TopicId()) << name_ << " is followed before it is found";
  CHECK_EQ(watch_, 0u) << name_;
  watch_ = client_.Watch(name_, [this](const Status& status) { OnMetadata(status); });
}

// Takes over what the cache says now; `status` is that of the refresh.
void TopicWatch::OnMetadata(const Status& status) {
  const MonotonicTime now = client_.clock().Now();
  const TopicDetails* found = client_.metadata().FindTopic(name_);
  const bool is_gone = status.code() == Code::kNotFound || found == nullptr;
  if (!is_gone) missing_since_.reset();
  if (is_gone && !missing_since_) missing_since_ = now;
  if (is_gone && now - *missing_since_ >= grace_) {
    listener_.lost(*this, status.ok() ? NotFound("topic \"" + name_ + "\" is gone") : status);
  } else if (!is_gone && found->id > id_) {  // a lower one: that broker lags behind
    listener_.lost(*this, NotFound("topic \"" + name_ + "\" was deleted and created again",
                                   Reason::kTopicDeleted));
  } else if (!is_gone && found->id == id_ && found->partition_count > partition_count_) {
    const PartitionId first(std::exchange(partition_count_, found->partition_count));
    if (listener_.grown) listener_.grown(*this, first);
  }
  listener_.leaders(*this);
}

LeaderInfo TopicWatch::LeaderOf(PartitionId partition) const {
  return client_.metadata().LeaderOf({id_, partition});
}

Status TopicWatch::CheckPartition(PartitionId partition) const {
  if (partition.value() < partition_count_) return {};
  return NotFound("topic \"" + name_ + "\" has no partition " + std::to_string(partition.value()),
                  Reason::kUnknownPartition);
}

}  // namespace millrace::client

#include "client/api/chunk_queue.h"

#include <algorithm>

namespace millrace::internal {

void ChunkQueue::Fill(const std::function<std::optional<client::FetchedChunk>()>& next) {
  bool has_more = false;
  {
    const std::lock_guard<std::mutex> lock(mu_);
    while (bytes_ < bytes_max_) {
      std::optional<client::FetchedChunk> chunk = next();
      if (!chunk) break;
      has_more = true;
      bytes_ += chunk->batch.size();
      chunks_.push_back(std::move(*chunk));
    }
    is_full_ = bytes_ >= bytes_max_;
  }
  if (has_more) ready_.notify_one();
}

std::optional<Offset> ChunkQueue::Drop(const TopicPartition& partition, bool if_batches) {
  const std::lock_guard<std::mutex> lock(mu_);
  const auto is_its = [&](const client::FetchedChunk& chunk) {
    return chunk.partition == partition;
  };
  const auto first = std::ranges::find_if(
      chunks_, [&](const auto& chunk) { return is_its(chunk) && !chunk.batch.empty(); });
  std::optional<Offset> began;
  if (first != chunks_.end()) began = first->first_wanted;
  if (!began && if_batches) return std::nullopt;
  for (const client::FetchedChunk& chunk : chunks_) {
    if (is_its(chunk)) bytes_ -= chunk.batch.size();
  }
  std::erase_if(chunks_, is_its);
  return began;
}

void ChunkQueue::Tell(Task notice) {
  {
    const std::lock_guard<std::mutex> lock(mu_);
    notices_.push_back(std::move(notice));
  }
  ready_.notify_one();
}

ChunkQueue::Taken ChunkQueue::Take(Duration timeout, bool may_be_any) {
  Taken taken;
  std::unique_lock<std::mutex> lock(mu_);
  const auto has_any = [this] { return !notices_.empty() || !chunks_.empty(); };
  if (!ready_.wait_for(lock, timeout, has_any)) return taken;
  const bool is_plain = notices_.empty() && chunks_.front().status.ok();
  if (!may_be_any && !is_plain) return taken;
  if (!notices_.empty()) {
    taken.notice = std::move(notices_.front());
    notices_.pop_front();
    return taken;
  }
  taken.chunk = std::move(chunks_.front());
  chunks_.pop_front();
  bytes_ -= taken.chunk->batch.size();
  taken.wants_more = is_full_ && bytes_ <= bytes_max_ / 2;
  if (taken.wants_more) is_full_ = false;
  return taken;
}

}  // namespace millrace::internal

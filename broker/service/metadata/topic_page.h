// Topics a page at a time, sorted by name, so that no answer is larger than gRPC clients take by
// default, however many topics there are. A page's token is the last name on it: topics that come
// and go between two pages move nothing.
//
// Pure; any thread.
//
//   FillPage(TopicsAfter(image, request.page_token(), false), request.page_size(), add, &response);
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "broker/api/request_limits.h"
#include "broker/controller/image.h"

namespace millrace::broker {

// All topics behind the token; Millrace's own only if asked for.
inline std::vector<const TopicInfo*> TopicsAfter(const Image& image, std::string_view page_token,
                                                 bool include_internal) {
  const auto& by_name = image.topics_by_name();
  std::vector<const TopicInfo*> topics;
  for (auto at = by_name.upper_bound(page_token); at != by_name.end(); ++at) {
    const TopicInfo* topic = image.FindTopic(at->second);
    if (include_internal || !topic->is_internal()) topics.push_back(topic);
  }
  return topics;
}

// Adds topics to `response`, each filled by `add`, until `page_size` (0: any number) or
// kPageBytesMax is reached, the first in any case; and the token if some are left.
template <typename Response, typename Add>
void FillPage(const std::vector<const TopicInfo*>& topics, uint32_t page_size, Add add,
              Response* response) {
  // Tag and length of one topic in the answer.
  constexpr size_t kFieldBytes = 6;
  size_t bytes = 0;
  uint32_t count = 0;
  for (const TopicInfo* topic : topics) {
    auto* added = response->add_topics();
    add(*topic, added);
    bytes += added->ByteSizeLong() + kFieldBytes;
    const bool has_room = page_size == 0 || count < page_size;
    if (count > 0 && (!has_room || bytes > kPageBytesMax)) {
      response->mutable_topics()->RemoveLast();
      response->set_next_page_token(topics[count - 1]->name);
      return;
    }
    ++count;
  }
}

}  // namespace millrace::broker

// Which topics a subscription by pattern means: those whose whole name an RE2 expression matches
// (github.com/google/re2/wiki/Syntax), and never one of Millrace's own. RE2 takes time in
// proportion to the name whatever the expression, and no more memory than it is given.
//
// What a pattern matches is told in the log, not decided again by each replica: brokers of a
// cluster need not have the same RE2.
//
// Moves, and is not copied. Any thread, several at once. Matching is mostly below a microsecond;
// the worst pattern found took 7 ms for a name of 249 bytes, so that many topics are matched where
// nobody waits.
//
//   ASSIGN_OR_RETURN(const TopicPattern pattern, TopicPattern::Parse("orders-.*"));
//   if (pattern.Matches(topic.name)) subscribed.push_back(topic.id);
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "proto/base/status.h"

namespace re2 {
class RE2;
}  // namespace re2

namespace millrace::broker {

inline constexpr size_t kTopicPatternBytesMax = 1000;
// What RE2 may take for the program that it makes of a pattern, and for matching by it.
inline constexpr size_t kTopicPatternMemoryMax = size_t{1} << 20;

class TopicPattern {
 public:
  // INVALID_ARGUMENT that says what is wrong with the pattern, and where if RE2 knows.
  static Result<TopicPattern> Parse(std::string_view text);

  TopicPattern(TopicPattern&&) noexcept;
  TopicPattern& operator=(TopicPattern&&) noexcept;
  ~TopicPattern();

  bool Matches(std::string_view topic_name) const;
  const std::string& text() const;

 private:
  explicit TopicPattern(std::unique_ptr<const re2::RE2> expression);

  std::unique_ptr<const re2::RE2> expression_;
};

}  // namespace millrace::broker

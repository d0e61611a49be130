#include "broker/coordinator/topic_pattern.h"

#include <utility>

#include <re2/re2.h>

#include "broker/controller/decide.h"
#include "proto/record/wire.h"

namespace millrace::broker {
namespace {

using re2::RE2;

RE2::Options OptionsOfPatterns() {
  RE2::Options options;
  options.set_max_mem(static_cast<int64_t>(kTopicPatternMemoryMax));
  options.set_log_errors(false);  // whoever sent the pattern is told
  return options;
}

Status WhatIsWrong(const RE2& expression) {
  if (expression.error_code() == RE2::ErrorPatternTooLarge) {
    return InvalidArgument("topic pattern takes more than " +
                           std::to_string(kTopicPatternMemoryMax) +
                           " bytes of memory: it repeats too much");
  }
  return InvalidArgument("topic pattern \"" + expression.pattern() +
                         "\" is no RE2 expression: " + expression.error());
}

}  // namespace

Result<TopicPattern> TopicPattern::Parse(std::string_view text) {
  if (text.empty()) return InvalidArgument("topic pattern is empty");
  if (text.size() > kTopicPatternBytesMax) {
    return InvalidArgument("topic pattern of " + std::to_string(text.size()) +
                           " bytes is longer than " + std::to_string(kTopicPatternBytesMax));
  }
  // RE2 lets surrogates pass, which messages do not.
  if (!IsValidUtf8(text)) return InvalidArgument("topic pattern is not UTF-8");
  auto expression =
      std::make_unique<const RE2>(re2::StringPiece(text.data(), text.size()), OptionsOfPatterns());
  if (!expression->ok()) return WhatIsWrong(*expression);
  return TopicPattern(std::move(expression));
}

TopicPattern::TopicPattern(std::unique_ptr<const RE2> expression)
    : expression_(std::move(expression)) {}
TopicPattern::TopicPattern(TopicPattern&&) noexcept = default;
TopicPattern& TopicPattern::operator=(TopicPattern&&) noexcept = default;
TopicPattern::~TopicPattern() = default;

bool TopicPattern::Matches(std::string_view topic_name) const {
  CHECK(expression_ != nullptr);
  if (IsReservedTopicName(topic_name)) return false;
  return RE2::FullMatch(re2::StringPiece(topic_name.data(), topic_name.size()), *expression_);
}

const std::string& TopicPattern::text() const {
  CHECK(expression_ != nullptr);
  return expression_->pattern();
}

}  // namespace millrace::broker

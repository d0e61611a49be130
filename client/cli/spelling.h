// What may be meant by a name that does not exist: a command, an option, a topic.
//
// Pure; any thread.
//
//   PrintError("there is no command " + word + DidYouMean(word, commands));
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::client::cli {

// How many slips make one of the other: a character too many, too few or wrong, or two neighbours
// that changed places (the optimal string alignment distance).
size_t EditDistance(std::string_view a, std::string_view b);

// The first of the `names` that are the fewest slips away, if those are few for a word so long:
// one, from six characters on two, and none below three.
std::optional<std::string> NearestName(std::string_view word,
                                       const std::vector<std::string>& names);

// "; did you mean NAME?", or nothing.
std::string DidYouMean(std::string_view word, const std::vector<std::string>& names);

}  // namespace millrace::client::cli

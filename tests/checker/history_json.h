// Histories as JSON lines, one op a line, so that programs write them as they go and people read
// them:
//
//   {"time":5,"process":1,"type":"invoke","f":"send","sends":[[0,17]]}
//   {"time":9,"process":1,"type":"ok","f":"send","sends":[[0,17,203]]}
//   {"time":12,"process":2,"type":"ok","f":"poll","reads":[[0,203,17]],"high_watermarks":[[0,204]]}
//   {"time":12,"process":2,"type":"ok","f":"assign","keys":[0,1]}
//   {"time":13,"process":3,"type":"invoke","f":"delete","deletes":[[0,200]]}
//   {"time":15,"process":3,"type":"ok","f":"delete","deletes":[[0,200]],"log_starts":[[0,200]]}
//   {"time":16,"process":3,"type":"invoke","f":"offsets"}
//   {"time":17,"process":3,"type":"ok","f":"offsets","log_starts":[[0,200],[1,0]]}
//
// A send is [key, value] or [key, value, offset]; a read is [key, offset, value], the value null if
// it was broken; a deletion is [key, offset]: of the first record that stays. Times are
// nanoseconds.
//
// Any thread.
#pragma once

#include <istream>
#include <string>
#include <string_view>

#include "proto/base/status.h"
#include "tests/checker/history.h"

namespace millrace::checker {

// One line, without its end.
std::string ToJsonLine(const Op& op);
// INVALID_ARGUMENT names what is wrong.
Result<Op> ParseJsonLine(std::string_view line);

// Everything up to the end; blank lines count for nothing; errors name the line.
Result<History> ReadHistory(std::istream& in);

}  // namespace millrace::checker

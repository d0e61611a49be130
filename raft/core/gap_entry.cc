#include "raft/core/gap_entry.h"

namespace millrace::raft::core {

Entry GapEntry(const GapEnds& ends) {
  return {.term = ends.term,
          .index = ends.first,
          .type = EntryType::kGap,
          .chain = ends.chain,
          .frame = MakeGap(ends),
          .configuration = nullptr};
}

}  // namespace millrace::raft::core

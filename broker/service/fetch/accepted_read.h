// A read whose answer is in forms that its reader takes: as stored where that will do, and else
// rewritten on the batches' thread.
//
// On the shard's thread.
//
//   ReadAccepted(environment, stream->principal(),
//                {.group = group, .request = request, .accepted = accepted, .wait = 5s}, done);
#pragma once

#include "broker/api/principal.h"
#include "broker/service/fetch/batch_rewrite.h"
#include "broker/service/fetch/environment.h"
#include "broker/service/fetch/fetched_batch.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

struct AcceptedRead {
  RaftGroupId group;
  // bytes_max is of what is read, and, where something is rewritten, of what is sent.
  ReadRequest request;
  AcceptedForms accepted;
  // How long to wait for the first record if there is none.
  Duration wait{};
};

// `done` once: PartitionClient::Read's errors, or DATA_LOSS if a batch cannot be rewritten.
void ReadAccepted(const FetchEnvironment& environment, const Principal& principal,
                  const AcceptedRead& read, MoveFunction<void(Result<FetchedBatches>)> done);

}  // namespace millrace::broker

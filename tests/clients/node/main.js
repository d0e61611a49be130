// A client that knows Millrace from the .proto files alone, which it loads as it starts: no generated
// code, no library of ours. Prints one line per record, "OFFSET KEY VALUE", and exits 1 with the reason
// if anything goes wrong.
//
//	node main.js PROTO_FOLDER write HOST:PORT TOPIC COUNT      creates the topic and stores records
//	node main.js PROTO_FOLDER fetch HOST:PORT TOPIC COUNT
//	node main.js PROTO_FOLDER subscribe HOST:PORT TOPIC        up to the end that it finds
'use strict';

const fs = require('fs');
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const TIME_MAX_MS = 60000;
const PUBLISHED_AT_ONCE = 50;
const CREDIT_BYTES = 1 << 20;

function load(folder) {
  const files = fs.readdirSync(path.join(folder, 'millrace', 'v1'))
      .map((name) => `millrace/v1/${name}`);
  // Producer ids do not fit a Number.
  const options = {includeDirs: [folder], keepCase: true, longs: String, defaults: true};
  const definitions = loader.loadSync(files, options);
  // An answer's size is the credit that it took, and is not known any more once it is an object.
  const method = definitions['millrace.v1.ConsumerService'].Fetch;
  const deserialize = method.responseDeserialize;
  method.responseDeserialize = (bytes) => ({...deserialize(bytes), size_bytes: bytes.length});
  return grpc.loadPackageDefinition(definitions).millrace.v1;
}

class Client {
  constructor(api, address) {
    this.api = api;
    this.address = address;
    this.stubs = {};
  }

  stub(service) {
    this.stubs[service] ??=
        new this.api[service](this.address, grpc.credentials.createInsecure());
    return this.stubs[service];
  }

  call(service, method, request) {
    return new Promise((resolve, reject) => {
      this.stub(service)[method](request, {deadline: Date.now() + TIME_MAX_MS},
          (error, response) => (error ? reject(error) : resolve(response)));
    });
  }

  // The answers of a stream are read with `for await`.
  stream(service, method, ...request) {
    return this.stub(service)[method](...request, {deadline: Date.now() + TIME_MAX_MS});
  }
}

function check(holds, what, seen) {
  if (!holds) throw new Error(`${what}: ${JSON.stringify(seen)}`);
}

function recordOf(number) {
  return {
    key: Buffer.from('node'),
    value: Buffer.from(`value-${number}`),
    headers: [{key: 'n', value: Buffer.from(String(number))}],
  };
}

// Unary, some records a call.
async function publish(client, topic, count) {
  for (let first = 0; first < count; first += PUBLISHED_AT_ONCE) {
    const records = [];
    for (let n = first; n < Math.min(first + PUBLISHED_AT_ONCE, count); n++) {
      records.push(recordOf(n));
    }
    const {results} = await client.call('ProducerService', 'Publish', {topic, records});
    check(results.length === records.length, 'publish: results', results);
    results.forEach((result, i) =>
      check(!result.error && Number(result.offset) === first + i, 'publish: result', result));
  }
}

// On a stream, one batch a record, pipelined, safe against doubles.
async function produce(client, topic, first, count) {
  const id = await client.call('ProducerService', 'InitProducer', {});
  const stream = client.stream('ProducerService', 'Produce');
  stream.write({init: {client_id: 'node'}});
  for (let n = first; n < count; n++) {
    const batch = {producer_id: id.producer_id, producer_epoch: id.producer_epoch,
      first_sequence: n - first, records: [recordOf(n)]};
    stream.write({batches: [{topic, batch_id: n, batch}]});
  }
  stream.end();
  let next = first;
  for await (const response of stream) {
    for (const result of response.results) {
      check(!result.error && result.batch_id === String(next) && result.base_offset === String(next),
          'produce: result', result);
      next++;
    }
  }
  check(next === count, 'produce: stored', next);
}

async function write(client, topic, count) {
  await client.call('AdminService', 'CreateTopic', {name: topic});
  const half = count / 2;
  await publish(client, topic, half);
  await produce(client, topic, half, count);
}

function print(offset, record) {
  console.log(`${offset} ${record.key} ${record.value}`);
}

// Gives back the credit that each answer took.
async function fetch(client, topic, count) {
  const stream = client.stream('ConsumerService', 'Fetch');
  stream.write({init: {client_id: 'node'}, credit_bytes: CREDIT_BYTES,
    add: [{fetch_id: 7, topic, position: {earliest: true}}]});
  let read = 0;
  for await (const response of stream) {
    for (const part of response.partitions) {
      check(!part.error && part.fetch_id === 7, 'fetch: answer', part);
      for (const {base_offset: base, batch} of part.batches) {
        batch.records.forEach((record, place) => {
          print(Number(base) + Math.max(place, record.offset_delta), record);
        });
        read += batch.records.length;
      }
    }
    if (read >= count) break;
    stream.write({credit_bytes: response.size_bytes});
  }
  stream.cancel();
  check(read === count, 'fetch: records', read);
}

async function subscribe(client, topic) {
  const request = {topic, position: {earliest: true}, stop_at_end: true};
  for await (const response of client.stream('ConsumerService', 'Subscribe', request)) {
    response.records.forEach(({offset, record}) => print(offset, record));
  }
}

async function main([folder, command, address, topic, count]) {
  const commands = {write, fetch, subscribe};
  check(commands[command] && topic, 'usage: see the top of main.js', command);
  await commands[command](new Client(load(folder), address), topic, Number(count));
}

// An exit would cut off what a pipe has not taken yet.
main(process.argv.slice(2)).then(() => process.stdout.write('', () => process.exit(0)), (error) => {
  console.error(error.message);
  process.exit(1);
});

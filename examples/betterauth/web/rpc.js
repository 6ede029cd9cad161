// Calls of a gRPC service from a browser, without a library: the Connect protocol
// (https://connectrpc.com/docs/protocol) and REST through grpc-gateway.

const service = "/account.v1.AccountService/";

/** A refusal: its code in Connect's spelling, its fixed message, its reason. */
export class Refused extends Error {
  constructor(code, message, reason) {
    super(message);
    this.code = code;
    this.reason = reason;
  }
}

/** Calls a unary method by Connect. */
export async function connect(method) {
  const response = await fetch(service + method, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Connect-Protocol-Version": "1" },
    body: "{}",
  });
  if (!response.ok) throw fromConnect(await response.json());
  return response.json();
}

/** Calls a method by its REST route. */
export async function rest(path) {
  const response = await fetch(path);
  const body = await response.json();
  if (response.ok) return body;
  const info = body.details?.find((d) => d["@type"]?.endsWith("google.rpc.ErrorInfo"));
  throw new Refused(codes[body.code] ?? "unknown", body.message, info?.reason);
}

/** Calls a server-streaming method by Connect and yields its messages. */
export async function* stream(method, signal) {
  const response = await fetch(service + method, {
    method: "POST",
    headers: { "Content-Type": "application/connect+json", "Connect-Protocol-Version": "1" },
    body: envelope("{}"),
    signal,
  });
  if (!response.ok) throw new Refused("unknown", `HTTP status ${response.status}`);
  const reader = response.body.getReader();
  let rest = new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the connection was cut");
    rest = concat(rest, value);
    while (rest.length >= 5) {
      const view = new DataView(rest.buffer, rest.byteOffset);
      const end = 5 + view.getUint32(1);
      if (rest.length < end) break;
      const message = JSON.parse(new TextDecoder().decode(rest.subarray(5, end)));
      const last = (rest[0] & 2) !== 0;
      rest = rest.subarray(end);
      if (last && message.error) throw fromConnect(message.error);
      if (last) return;
      yield message;
    }
  }
}

/** One message: a byte of flags, its length, itself. */
function envelope(json) {
  const body = new TextEncoder().encode(json);
  const framed = new Uint8Array(5 + body.length);
  new DataView(framed.buffer).setUint32(1, body.length);
  framed.set(body, 5);
  return framed;
}

function concat(a, b) {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

function fromConnect(error) {
  const info = error.details?.find((d) => d.type === "google.rpc.ErrorInfo");
  return new Refused(error.code, error.message, info && firstField(info.value));
}

/** The reason is field 1 of an ErrorInfo, a short string, and comes first. */
function firstField(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  if (bytes[0] !== 0x0a || bytes[1] > 0x7f) return undefined;
  return new TextDecoder().decode(bytes.subarray(2, 2 + bytes[1]));
}

const codes = {
  1: "canceled", 2: "unknown", 3: "invalid_argument", 4: "deadline_exceeded", 5: "not_found", 7: "permission_denied",
  8: "resource_exhausted", 12: "unimplemented", 13: "internal", 14: "unavailable", 16: "unauthenticated",
};

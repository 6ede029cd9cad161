// A server and a client of Connect for Node that speak gRPC. Each line of the standard
// input is an identity and an address to send it to, each line of the output the answer.
// The server, whose port is the first line, answers with the identity headers as it got them.
import { createServer } from "node:http2";
import { createInterface } from "node:readline";
import { create, createFileRegistry } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport } from "@connectrpc/connect-node";

// As much of grpc/testing/test.proto as is needed.
const file = create(FileDescriptorProtoSchema, {
  name: "test.proto",
  package: "grpc.testing",
  syntax: "proto3",
  messageType: [
    { name: "Payload", field: [{ name: "body", number: 2, type: 12, label: 1 }] },
    { name: "SimpleRequest" },
    { name: "SimpleResponse", field: [{ name: "payload", number: 1, type: 11, label: 1, typeName: ".grpc.testing.Payload" }] },
  ],
  service: [{
    name: "TestService",
    method: [{ name: "UnaryCall", inputType: ".grpc.testing.SimpleRequest", outputType: ".grpc.testing.SimpleResponse" }],
  }],
});
const TestService = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] })).getService("grpc.testing.TestService");

// Every header is a string for the Headers of the platform, as it is in Connectum: what
// they refuse, such as letters beyond U+00FF, is an error before anything is sent.
function setIdentity(headers, { subject, type, name, roles, scopes, claims }) {
  headers.set("x-auth-subject", subject);
  if (type) headers.set("x-auth-type", type);
  if (name) headers.set("x-auth-name", name);
  if (roles) headers.set("x-auth-roles", JSON.stringify(roles));
  if (scopes) headers.set("x-auth-scopes", scopes.join(" "));
  if (claims) headers.set("x-auth-claims", JSON.stringify(claims));
}

const server = createServer(connectNodeAdapter({
  routes: (router) => router.service(TestService, {
    unaryCall(_, context) {
      const got = Object.fromEntries([...context.requestHeader].filter(([name]) => name.startsWith("x-auth-")));
      return { payload: { body: new TextEncoder().encode(JSON.stringify(got)) } };
    },
  }),
}));
server.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: server.address().port })));

for await (const line of createInterface({ input: process.stdin })) {
  const { address, identity } = JSON.parse(line);
  const send = (next) => (request) => {
    setIdentity(request.header, identity);
    return next(request);
  };
  const client = createClient(TestService, createGrpcTransport({ baseUrl: `http://${address}`, interceptors: [send], idleConnectionTimeoutMs: 1 }));
  try {
    const { payload } = await client.unaryCall({});
    console.log(new TextDecoder().decode(payload.body));
  } catch (error) {
    console.log(JSON.stringify({ Error: error.rawMessage ?? String(error) }));
  }
}
process.exit(0);

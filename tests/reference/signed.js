// Verifies signed requests with `standardwebhooks`, which takes bodies that are UTF-8; and Ed25519 signatures, over
// any bytes, with what Node brings.

const crypto = require("node:crypto");
const fs = require("node:fs");
const { Webhook } = require("standardwebhooks");

const OTHER = "whsec_" + Buffer.from("another secret, 24 bytes").toString("base64");
let verified = 0;
let wrong = 0;

function check(what, holds) {
  if (holds) {
    verified += 1;
  } else {
    wrong += 1;
    console.log("wrong:", what);
  }
}

function accepts(secret, body, headers) {
  try {
    new Webhook(secret).verify(body, headers, { jsonParse: false });
    return true;
  } catch {
    return false;
  }
}

function acceptsEd25519(publicKey, body, headers) {
  const x = Buffer.from(publicKey.replace(/^whpk_/, ""), "base64").toString("base64url");
  const key = crypto.createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const head = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`;
  const signatures = headers["webhook-signature"].split(" ").filter((one) => one.startsWith("v1a,"));
  return signatures.some((one) =>
    crypto.verify(null, Buffer.concat([Buffer.from(head), body]), key, Buffer.from(one.slice(4), "base64")),
  );
}

fs.readFileSync(process.argv[2], "utf8").trim().split("\n").forEach((line, number) => {
  const { headers, body: encoded, secrets, text, public: publicKey } = JSON.parse(line);
  const body = Buffer.from(encoded, "base64");
  const changed = Buffer.concat([body, Buffer.from("x")]);
  if (publicKey) {
    check(`line ${number}, Ed25519`, acceptsEd25519(publicKey, body, headers));
    check(`line ${number}, Ed25519, changed body`, !acceptsEd25519(publicKey, changed, headers));
  }
  if (!text) return;
  for (const secret of secrets) {
    check(`line ${number}, signature`, accepts(secret, body, headers));
    check(`line ${number}, changed body`, !accepts(secret, changed, headers));
  }
  check(`line ${number}, another secret`, !accepts(OTHER, body, headers));
});

console.log(`${verified} verified, ${wrong} not`);

// A tap with a memory, in JavaScript: prints each entry as one JSON line, and resumes where it stopped.
//
//   npm install zeromq @msgpack/msgpack
//   node tap.js POSITION_FILE
//
// The entry that is printed when the process is killed may come again; none is ever missed.

const { randomBytes } = require("node:crypto");
const { existsSync, readFileSync, renameSync, writeFileSync } = require("node:fs");
const { decode, encode } = require("@msgpack/msgpack");
const { Push, Subscriber } = require("zeromq");

const runtimeDir = process.env.VOICETAP_RUNTIME_DIR ?? `${process.env.XDG_RUNTIME_DIR ?? "/run"}/voicetap`;
const positionFile = process.argv[2];
const requester = `js-${randomBytes(6).toString("hex")}`;
const ASK_AGAIN_MS = 500;

// The journal that was read last, and the journal_seq of the entry that comes next. At first: any journal's oldest.
let position = existsSync(positionFile)
  ? JSON.parse(readFileSync(positionFile, "utf8"))
  : { journal_id: "", next_seq: 1 };
let hasJournal = false; // entries count only once journal has said which one it is
let askedAt = 0;
const ahead = new Map(); // entries that came before their turn, by journal_seq
const boots = []; // every boot_id of journal, in the order they came

const transcript = new Subscriber();
const history = new Push();

function save() {
  writeFileSync(`${positionFile}.new`, JSON.stringify(position), { flush: true });
  renameSync(`${positionFile}.new`, positionFile);
}

// journal_head and history_end say what journal holds: entries from first_seq up to, not including, head.
function follow({ journal_id, boot_id, first_seq }, head) {
  if (!boots.includes(boot_id)) boots.push(boot_id);
  if (boot_id !== boots.at(-1)) return; // a late message of a journal process that was restarted since
  const isSame = ["", journal_id].includes(position.journal_id);
  if (!isSame || position.next_seq > head) {
    ahead.clear(); // another journal: all of it is new. The same, but shorter: a power cut took its last entries
    position.next_seq = isSame ? head : first_seq;
  }
  position.journal_id = journal_id;
  position.next_seq = Math.max(position.next_seq, first_seq); // retention has deleted what was before
  hasJournal = true;
  if (position.next_seq < head && Date.now() - askedAt >= ASK_AGAIN_MS) {
    askedAt = Date.now();
    // Not awaited: journal may be away, and asking is repeated anyway.
    history.send(encode({ type: "history_request", requester, since: position.next_seq, limit: 500 })).catch(() => {});
  }
}

function release() {
  for (let entry; (entry = ahead.get(position.next_seq)); ) {
    ahead.delete(position.next_seq);
    console.log(JSON.stringify(entry)); // your work goes here: done before the position is saved
    position.next_seq += 1;
    save();
  }
}

async function main() {
  transcript.connect(`ipc://${runtimeDir}/transcript`);
  history.connect(`ipc://${runtimeDir}/history`);
  const entries = ["transcript.final/", "transcript.failed/", "transcript.gap/"];
  transcript.subscribe(...entries, "journal_head", `history/${requester}`); // before asking, so nothing falls between
  for await (const [, data] of transcript) {
    const message = decode(data);
    if (message.type === "journal_head") {
      follow(message, message.next_seq);
    } else if (message.type === "history_end") {
      askedAt = 0; // answered: ask for the next piece at once
      follow(message, message.head_seq);
    } else if (hasJournal && message.journal_seq >= position.next_seq) {
      ahead.set(message.journal_seq, message); // 0 is never next: journal's disk is full, and the entry comes again
    }
    release();
  }
}

main();

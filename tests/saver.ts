// Saves a folder repeatedly until it is killed: `node saver.js FOLDER`.
import { saveFolder } from "../src/models/index.ts";

const [, , folder] = process.argv;
process.stdout.write("ready\n");
for (let round = 0; ; round++) {
  await saveFolder(folder, async (writer) => {
    for (const name of ["a.txt", "b/c.txt", "d.txt"]) await writer.file(name, `${round}\n`.repeat(20_000));
  });
}

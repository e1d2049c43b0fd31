import digits from "../../../../examples/digits/train.py?raw";

/**
 * The training of examples/digits, the file itself, fed to Python on its standard input: a real run on handwritten
 * digits that needs no upload. Its weights come out the same with and without a node loss in the middle.
 */
export const DIGITS_COMMAND = `python - --epochs 120 --pace-ms 40 <<'PYTHON'\n${digits.trimEnd()}\nPYTHON\n`;

export const OWN_COMMAND = `set -eu
# Runs in /bin/sh. What lies in $GP4U_CHECKPOINT_DIR survives the node.
file="$GP4U_CHECKPOINT_DIR/step"
step=$(cat "$file" 2>/dev/null || echo 0)
while [ "$step" -lt 600 ]; do
  step=$((step + 1))
  sleep 0.5
  echo "step $step"
  echo "$step" > "$file.tmp" && mv "$file.tmp" "$file"
done
`;

"""Print the tables of the self-tuning track from its records: `python experiments/self_tuning/page.py [records]`."""

import sys
from pathlib import Path

import clock
import score
from contenders import DEFAULTS
from track_tasks import FIRST, SECOND

if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("records.jsonl")
    records = score.read(where)
    for title, names in (("Both sets", (*FIRST, *SECOND)), ("First set", FIRST), ("Second set", SECOND)):
        print(f"\n{title}\n\n{score.scores(records, DEFAULTS, names)}")
    for table in (score.each(records, DEFAULTS), score.profile(records, DEFAULTS)):
        print(f"\n{table}")
    print(f"\n{score.error_table(records, DEFAULTS)}")
    print(f"\n{clock.seconds_table(records, DEFAULTS)}\n\n{clock.target_table(records, DEFAULTS)}")
    print(f"\n{score.price(records, 'tuning_free', 0.0)}")

"""What every method in `optaxaccel.METHODS` promises, with no method's name in it.

Each test function takes `card` and is one item. A card whose method cannot keep an item says so in
`reservations = {item: reason}`, where the item is the test's name without `test_`, or the words that several tests
begin with ("descends"); the test is then skipped with that reason. `test_suite_catches_faults.py` plants a fault for
every item and sees it caught.
"""

"""Control of the sampling rate: enough samples to detect small attacks, few enough to cost little. Packets that belong
to no flow in use are sampled more densely: nearly all of a flood, and little of normal traffic. A flood multiplies
within one look, so the rate is reduced at once, and increased slowly.
"""

from math import ceil, log2

# Fewer samples do not reveal an attack within three seconds; more take more than 5 % of a core.
MIN_SAMPLES, MAX_SAMPLES = 2_000, 16_000
# The share of samples without a flow in use; the rest are of flows in use.
IDLE_SHARE = 0.75
# The limit of a core's use; beyond it fewer packets are sampled.
MOST_CPU = 0.05
# The rate is increased after this number of looks in a row with less than this share of the limit.
FEW_SHARE, PATIENT_LOOKS = 0.4, 8
# The limit of a single look relative to the average: a burst is not a flood.
BURST = 1.5
MOST_ONE_IN = 1 << 20
FIRST_IDLE, FIRST_USED = 64, 512


class SamplingControl:
    """Determines the sampling intervals.

    Args:
        samples_per_second: The limit of samples.
        one_in: The present intervals: of packets of flows that are not in use, and of others.
    """

    def __init__(self, samples_per_second: int = MAX_SAMPLES, one_in: tuple[int, int] = (FIRST_IDLE, FIRST_USED)):
        self.most = samples_per_second
        self._share = 1.0
        self._few = [0, 0]
        self._one_in = list(one_in)

    @property
    def one_in(self) -> tuple[int, int]:
        """The intervals of packets of flows that are not in use, and of others."""
        return self._one_in[0], self._one_in[1]

    @property
    def samples_per_second(self) -> float:
        """The present limit of samples."""
        return max(float(MIN_SAMPLES), self.most * self._share)

    def spend(self, cpu: float) -> None:
        """Adapt to the share of a core that was used recently."""
        if cpu > MOST_CPU:
            self._share = max(0.8 * self._share, MIN_SAMPLES / self.most)
        elif cpu < MOST_CPU / 2:
            self._share = min(1.0, 1.1 * self._share)

    def look(self, idle: int, used: int, packets: tuple[float, float], seconds: float) -> bool:
        """Take a look into account; return whether the intervals change.

        Args:
            idle: Samples of flows that are not in use.
            used: Samples of others.
            packets: How many packets these stand for.
            seconds: The length of the look.
        """
        changed = False
        wanted = self.samples_per_second * IDLE_SHARE, self.samples_per_second * (1 - IDLE_SHARE)
        for kind, count in enumerate((idle, used)):
            fitting = _power(packets[kind] / seconds / wanted[kind])
            is_few = count < FEW_SHARE * wanted[kind] * seconds
            self._few[kind] = self._few[kind] + 1 if is_few else 0
            if count > BURST * wanted[kind] * seconds:
                new = max(fitting, self._one_in[kind])
            elif self._few[kind] >= PATIENT_LOOKS:
                new = min(fitting, self._one_in[kind])
            else:
                continue
            changed = changed or new != self._one_in[kind]
            self._one_in[kind], self._few[kind] = new, 0
        return changed


def _power(one_in: float) -> int:
    """Return the next power of two: small changes have no effect."""
    return min(1 << max(0, ceil(log2(max(one_in, 1.0)))), MOST_ONE_IN)

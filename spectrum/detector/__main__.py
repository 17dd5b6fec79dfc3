"""The detector: `python -m spectrum.detector LINK FOLDER USER SECCOMP`, which the supervisor starts."""

from spectrum.detector.main import main

if __name__ == "__main__":
    main()

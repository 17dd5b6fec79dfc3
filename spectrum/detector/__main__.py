"""The detector: `python -m spectrum.detector LINK FOLDER USER SECCOMP`, started by the supervisor."""

from spectrum.detector.main import main

if __name__ == "__main__":
    main()

"""The API's process: `python -m spectrum.api LINK STORE ANALYTICS USER LISTENER...`, which the supervisor starts."""

from spectrum.api.main import main

if __name__ == "__main__":
    main()

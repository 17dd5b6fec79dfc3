"""The API's process: `python -m spectrum.api LINK STORE ANALYTICS USER LISTENER...`, started by the supervisor."""

from spectrum.api.main import main

if __name__ == "__main__":
    main()

"""Pictures: decode, resize and hand them to a network as the released weights expect them."""
from dataclasses import dataclass

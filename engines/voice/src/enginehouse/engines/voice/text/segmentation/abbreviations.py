"""Abbreviations, by whether the full stop after them ends the sentence."""

from __future__ import annotations

import re

_NEVER = """
    Mr Mrs Ms Mx Dr Prof Rev Hon Capt Cpt Col Gen Lt Sgt Maj Cmdr Gov Sen Rep Pres Mt Ft Messrs Mme Mlle Smt Sri Shri
    Adv Er Fr Herr Sig Sr Sra Srta Mio Mrd Mlles Sigra Dott cf viz vs eg ie e.g i.e resp incl approx govt dept
    డా శ్రీ శ్రీమతి ప్రొ రూ కి కి.మీ కి.గ్రా సెం.మీ మి.లీ మి.మీ గం ని ఉదా క్రీ క్రీ.శ క్రీ.పూ
    ఎ బి సి డి ఇ ఎఫ్ జి జీ హెచ్ ఐ జె జే కె కే ఎల్ ఎం ఎన్ ఓ పి పీ క్యూ ఆర్ ఎస్ టి టీ యు యూ వి వీ డబ్ల్యూ ఎక్స్
    వై జెడ్
    डॉ श्री श्रीमती प्रो कु पं रु रू सं
"""
_BEFORE_NUMBERS = """
    no nos fig figs vol No Nos Fig Figs Vol Vols p pp Ch Chap Sec Art Eq Rs Re INR
    op Jan Feb Mar Apr Jun Jul Aug Sep Sept Oct Nov Dec
    ext Nr nr tél tel núm नं क्र
    నం సం పే
"""
_SOMETIMES = """
    etc Inc Ltd Co Corp Bros Jr Tel Pvt Est Ave Blvd Rd Esq al a.m p.m am pm Ph.D M.D B.A M.A B.Sc M.Sc B.Tech M.Tech
    B.C A.D B.C.E C.E
"""
_BEGINNINGS = """
    A After All Although An And Another Any As At Because Before Both But By Each Even Every Finally First For From He
    Her Here His How However I If In Instead It Its Just Later Let Many Maybe Meanwhile More Most My Nevertheless Next
    No Nobody Not Nothing Now Of Often On Once One Only Or Other Our Perhaps Please She Since So Some Sometimes Soon
    Still Such That The Their Then There Therefore These They This Those Though Thus To Today Together Tomorrow Under
    Until We Well What When Where Whether Which While Who Whoever Why With Without Yes Yesterday Yet You Your
"""

NEVER = frozenset(_NEVER.split())
"""Abbreviations, without their last stop, that never end a sentence. Those in lower case match in upper case too; the
others only as written here ("Rep." and not "rep.")."""
BEFORE_NUMBERS = frozenset(_BEFORE_NUMBERS.split())
"""Abbreviations before a number, ordinary words otherwise ("No. 5", "No. I won't")."""
SOMETIMES = frozenset(_SOMETIMES.split())
"""Abbreviations that may end a sentence: they do unless a lower-case letter or a digit follows."""
BEGINNINGS = frozenset(_BEGINNINGS.split())
"""Words that begin sentences far more often than they are part of a name: "the U.S. They" against "the U.S. Army"."""

INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
"""Letters with stops between them, or a single letter."""
